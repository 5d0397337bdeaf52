"""Runs batches: every row of a file is a job, and what comes of it is copied into the files of its batch."""
