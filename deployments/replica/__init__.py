"""The code that runs in the replica of a self-hosted model."""
