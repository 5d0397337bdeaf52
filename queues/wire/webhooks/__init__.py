"""EVENTS and the bucket `webhooks`: events, their deliveries, and the endpoints they go to."""
