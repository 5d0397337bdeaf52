"""Quantiles of waiting times in little memory, however many there are."""

from __future__ import annotations

import math

LEAST_SECONDS = 1e-3
"""Minimum seconds; shorter times count as none."""

ERROR = 0.01
"""Maximum relative error of a quantile against the time seen at its rank (Masson, Rim and Lee 2019, DDSketch)."""

_GROWTH = math.log((1 + ERROR) / (1 - ERROR))
_BUCKETS = 2 + int(math.log(1e8 / LEAST_SECONDS) / _GROWTH)


class Sketch:
    """Counts of times between LEAST_SECONDS and some three years, in buckets that grow by 2 % each."""

    __slots__ = ("_counts", "count", "total_seconds")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total_seconds = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total_seconds += seconds
        if seconds < LEAST_SECONDS:
            self._counts[0] += 1
        else:
            self._counts[min(1 + int(math.log(seconds / LEAST_SECONDS) / _GROWTH), _BUCKETS - 1)] += 1

    def include(self, other: Sketch) -> None:
        """Add everything the other sketch has counted."""
        self.count += other.count
        self.total_seconds += other.total_seconds
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]

    @property
    def mean(self) -> float:
        return self.total_seconds / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """Return the seconds that this share of the times does not exceed; 0 where there are none."""
        rank, seen = share * (self.count - 1), 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen > rank:
                return 0.0 if bucket == 0 else _middle(bucket)
        return 0.0


def _middle(bucket: int) -> float:
    """Return the time whose relative distance to both ends of the bucket is the same."""
    return 2 * LEAST_SECONDS * math.exp((bucket - 1) * _GROWTH) / (1 + math.exp(-_GROWTH))
