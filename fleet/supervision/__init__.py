"""What a fleet on one machine needs to be left alone: its parts are started again, and none outlives it."""
