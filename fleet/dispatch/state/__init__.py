"""What one dispatcher knows: its targets, its peers, what is on its way, leases, calibrations, cancellations."""
