"""The recent maximum of wishes: scaling down waits until nothing has asked for more in a while."""

from __future__ import annotations

Window = tuple[tuple[float, int], ...]
"""Wishes with their times, oldest first, each smaller than the one before; a larger wish replaces those before it."""


def wished(window: Window, replicas: int, seconds: float, now: float) -> Window:
    """Return the window of the last `seconds` with one more wish."""
    kept = tuple((at, n) for at, n in window if n > replicas and now - at < seconds)
    return (*kept, (now, replicas))


def most(window: Window) -> int:
    return max((replicas for _, replicas in window), default=0)
