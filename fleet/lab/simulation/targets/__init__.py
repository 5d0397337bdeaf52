"""The simulated targets: the jobs that wait for them, their speed, and their scalers."""
