"""Receives messages: each is decided on alone, and one that may crash its reader is opened on record."""
