"""Measures the same work on Fleet and on its peers."""
