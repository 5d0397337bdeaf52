"""`fleet demo`: runs a few invented jobs through the whole fleet and shows what became of them."""
