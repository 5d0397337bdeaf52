"""The dispatcher: carries jobs from queue to backend to result, and decides nothing."""
