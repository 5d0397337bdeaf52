"""The streams of a fleet: made, and given their share of the server's room."""
