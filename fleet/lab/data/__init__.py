"""Training data out of what was collected: what is worth learning, cleaned, split, and described."""
