"""Knowledge of one dispatcher: its targets, its peers, what is on its way, leases, calibrations, cancellations."""
