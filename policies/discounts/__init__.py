"""Decides when the same answer may be had for less, by a way that takes longer."""
