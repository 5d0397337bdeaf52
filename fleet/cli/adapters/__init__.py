"""The commands that try adapters."""
