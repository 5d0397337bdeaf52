"""Measures how fast a batch goes, and says when it will be through, as an interval."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

MAX_SAMPLES = 64
"""Number of samples looked back on: over a long batch a few minutes, so that a change of speed shows soon."""

MIN_SAMPLES = 4
"""Below this nothing is said."""

LOW, HIGH = 0.1, 0.9
"""Quantiles of the rates seen, between which the rate to come is taken to be."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The rows a second of late, the seconds until the last row, at best and at worst, and what all rows will cost."""

    rows_per_second: float
    earliest_seconds: float
    latest_seconds: float
    cost_usd: float


class Pace:
    """The progress of a batch, noted now and then. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=MAX_SAMPLES)

    def note(self, at: float, done: int) -> None:
        """Note how many rows are done; a moment at which nothing has changed counts as well."""
        if not self._samples or at > self._samples[-1][0]:
            self._samples.append((at, done))

    def outlook(self, total: int, cost_usd: float) -> Outlook | None:
        """Return what to expect, given what the rows that are done cost; None while there is too little to go by."""
        done = self._samples[-1][1] if self._samples else 0
        rates = self._rates()
        if len(rates) < MIN_SAMPLES or done == 0 or rates[-1] == 0:
            return None
        left = total - done
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        mean = (last - first) / (last_at - first_at)
        slow, fast = _quantile(rates, LOW), _quantile(rates, HIGH)
        # Rows may come in bursts with nothing between: then the mean is the better guess of the worst.
        slow = slow or mean / 2
        return Outlook(mean, left / max(fast, mean), left / min(slow, mean), cost_usd * total / done)

    def _rates(self) -> list[float]:
        pairs = pairwise(self._samples)
        return sorted((later - done) / (at - before) for (before, done), (at, later) in pairs)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]
