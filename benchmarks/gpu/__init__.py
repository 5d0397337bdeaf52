"""Ten minutes on one card: what the fleet's real path costs there, and what it says it could not find out."""
