"""What a simulation counts, and how it is shown."""
