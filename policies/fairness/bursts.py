"""The largest burst of interactive jobs that a target had lately: the next one is likely to be as large."""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOW_SECONDS = 30.0
"""Seconds for which the largest burst counts at least; it counts for twice as long at most."""


@dataclass(frozen=True, slots=True)
class Bursts:
    """The most interactive jobs at a time, in the window that began at `since` (unix seconds) and in the one before."""

    since: float = 0.0
    most: int = 0
    before: int = 0

    @property
    def largest(self) -> int:
        return max(self.most, self.before)


def noted(bursts: Bursts, jobs: int, now: float) -> Bursts:
    """Return the bursts with so many interactive jobs at `now` among them."""
    age = now - bursts.since
    if 0.0 <= age < WINDOW_SECONDS:
        return bursts if jobs <= bursts.most else replace(bursts, most=jobs)
    return Bursts(now, jobs, bursts.most if 0.0 <= age < 2 * WINDOW_SECONDS else 0)
