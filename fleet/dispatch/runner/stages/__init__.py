"""What a batch passes through, in this order: cancel, reserve_cost, then intent records, execute and assess."""
