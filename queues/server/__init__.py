"""Prepares nats-servers: an embedded one, and the configuration, permissions and certificates of others."""
