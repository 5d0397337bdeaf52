"""Sentences as vectors: an encoder from a file, and the index that finds the nearest cached question."""
