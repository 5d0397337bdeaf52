"""Looks back at a week: what fell through to dearer targets, and what each change would have saved."""
