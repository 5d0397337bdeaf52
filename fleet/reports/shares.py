"""Shares of judged answers with their intervals, and which models they prove good enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Z = 1.959963984540054
"""Standard normal quantile of a two-sided 95 % interval."""

LEAST_JUDGED = 30
"""Judged answers below which nothing is said of a model."""

MARGIN = 0.02
"""How much smaller a share of good answers may be and still be good enough."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `n` answers with its 95 % interval. `effective_n` is smaller where some answers count for more."""

    n: int
    effective_n: float
    share: float
    low: float
    high: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def weighted(votes: Sequence[tuple[float, bool]]) -> Share | None:
    """Return the share of the weights that are true, with its interval for the effective number (Kish 1965)."""
    if not votes:
        return None
    weights = math.fsum(weight for weight, _ in votes)
    effective = weights * weights / math.fsum(weight * weight for weight, _ in votes)
    share = math.fsum(weight for weight, yes in votes if yes) / weights
    return Share(len(votes), effective, share, *wilson(share, effective))


def pooled(shares: Iterable[Share]) -> Share | None:
    """Return the share of several groups together, all of whose answers count the same."""
    found = list(shares)
    n = sum(each.n for each in found)
    if not n:
        return None
    share = math.fsum(each.n * each.share for each in found) / n
    return Share(n, float(n), share, *wilson(share, n))


def share_of(yes: int, n: int) -> Share | None:
    """Return the share of `n` answers that all count the same; None of none."""
    return Share(n, float(n), yes / n, *wilson(yes / n, n)) if n else None


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of `n` (Wilson 1927): it holds for few answers, and near 0 and 1."""
    centre = share + Z * Z / (2 * n)
    reach = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    # Rounding must not leave the share itself outside.
    low, high = (centre - reach) / (1 + Z * Z / n), (centre + reach) / (1 + Z * Z / n)
    return max(0.0, min(share, low)), min(1.0, max(share, high))


def good_enough(model: Share | None, fleet: Share | None) -> bool | None:
    """Return whether a model's answers are at most MARGIN worse than the fleet's; None where that is not known.

    The interval of the difference is Newcombe's (1998, method 10).
    """
    if model is None or fleet is None or model.n < LEAST_JUDGED or fleet.n < LEAST_JUDGED:
        return None
    difference = model.share - fleet.share
    if difference - math.hypot(model.share - model.low, fleet.high - fleet.share) >= -MARGIN:
        return True
    if difference + math.hypot(model.high - model.share, fleet.share - fleet.low) < -MARGIN:
        return False
    return None
