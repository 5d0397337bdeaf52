"""`fleet rollout`: another way to answer, tried on a share of the jobs."""
