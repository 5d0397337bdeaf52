"""The most that was wanted of late: fewer replicas only when nothing has asked for more in a while."""

from __future__ import annotations

Window = tuple[tuple[float, int], ...]
"""When so many were wanted; oldest first, each fewer than the one before. What a later, larger wish covers is gone."""


def wished(window: Window, replicas: int, seconds: float, now: float) -> Window:
    """The window of the last `seconds` with one more wish."""
    kept = tuple((at, n) for at, n in window if n > replicas and now - at < seconds)
    return (*kept, (now, replicas))


def most(window: Window) -> int:
    return max((replicas for _, replicas in window), default=0)
