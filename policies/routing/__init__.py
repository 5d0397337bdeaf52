"""The way of a job: whether it makes sense, its tier, and the targets that may run it."""
