"""Webhooks on NATS: the outbox of events, and the endpoints they go to."""
