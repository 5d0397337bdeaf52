"""Fires every alert by a real fault, and writes down which fault fires which."""
