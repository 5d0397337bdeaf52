"""The commands that look at many jobs afterwards."""
