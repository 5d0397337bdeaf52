"""The stores beside the jobs: spend, calibrations, reports of load, dead letters, cancellations, the record."""
