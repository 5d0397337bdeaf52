"""The commands that make training data of what was collected."""
