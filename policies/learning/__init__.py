"""The learning loop: what is worth teaching, when a turn may begin, and what its next step is."""
