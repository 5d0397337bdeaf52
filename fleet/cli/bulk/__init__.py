"""`fleet bulk`: files of jobs."""
