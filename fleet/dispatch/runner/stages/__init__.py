"""The stages of a batch, in this order: cancel, reserve_cost, then intent records, execute and assess."""
