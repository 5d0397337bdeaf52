"""The counts of a simulation, and their presentation."""
