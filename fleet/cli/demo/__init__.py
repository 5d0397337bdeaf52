"""`fleet demo`: a few invented jobs through the whole fleet, and what became of them."""
