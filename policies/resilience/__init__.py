"""What to do when something fails or is missing: breakers, retries, cold targets, limits, deliveries, deadlines."""
