"""Whose jobs come next and how many: turns, quotas, batches, and streams that fill up."""
