"""A connection to NATS that outlives servers and malformed frames: addresses, logins, batches of requests."""
