"""The only package that speaks NATS: the wire, JetStream, the same in this process, and the servers."""
