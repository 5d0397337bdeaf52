"""The queue, its topology and a publisher's desk on NATS JetStream."""
