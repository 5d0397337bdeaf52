"""The command that takes the learning loop further."""
