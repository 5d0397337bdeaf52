"""Adapters: which versions there are, which of them answers, and the steps that change it."""
