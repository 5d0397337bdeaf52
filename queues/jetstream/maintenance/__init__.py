"""Chores that keep every message reachable."""
