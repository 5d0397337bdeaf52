"""Experiments: which arm of a roll-out a job is in, what the arm changes, and when it is stopped or promoted."""
