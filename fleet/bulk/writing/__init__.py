"""Writes what came of a batch: files that appear when they are complete, in an order and a format."""
