"""Bulk files through everything that carries them, killed at random."""
