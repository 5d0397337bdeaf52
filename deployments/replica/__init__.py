"""What runs in the replica of a self-hosted model."""
