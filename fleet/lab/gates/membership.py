"""Whether an adapter tells the rows it was trained on from others: a test of membership by loss (Yeom et al. 2018).

A row that was learnt is easier for the adapter than for its base by more than a row of the same kind that was not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.lab.metrics.metrics import auroc

Z = 1.959964
"""Two-sided 95 %."""

LIMIT = 0.6
"""The chance of telling a row from another below which, by its upper bound, rows count as not told apart."""

_STEPS = 60


class Membership(StrEnum):
    """What a probe says of rows: they are told from others, they are not, or the rows are too few, or too unlike."""

    TOLD_APART = "told_apart"
    AT_CHANCE = "at_chance"
    TOO_FEW = "too_few"
    UNLIKE = "unlike"


@dataclass(frozen=True, slots=True)
class Probed:
    """The chance `auc` that a row in question looks more like one that was learnt than another row does; 0.5 is chance.

    It lies between `low` and `high` with 95 %. `members` and `others` are the counts of rows.
    """

    verdict: Membership
    auc: float
    low: float
    high: float
    members: int
    others: int
    limit: float


def probed(members: Sequence[float], others: Sequence[float], limit: float = LIMIT) -> Probed:
    """Judge by how much each row got easier. There is at least one of either kind."""
    scores, kinds = [*members, *others], [1.0] * len(members) + [0.0] * len(others)
    auc = auroc(scores, kinds)
    assert auc is not None
    low, high = _interval(auc, len(members), len(others))
    return Probed(_verdict(low, high, limit), auc, low, high, len(members), len(others), limit)


def _verdict(low: float, high: float, limit: float) -> Membership:
    if low > 0.5:
        return Membership.TOLD_APART
    if high < 0.5:
        return Membership.UNLIKE
    return Membership.AT_CHANCE if high < limit else Membership.TOO_FEW


def _interval(auc: float, members: int, others: int) -> tuple[float, float]:
    """Return the score interval of Newcombe 2006 (method 5), which stays within 0 and 1 and is sound for few rows."""
    return _bound(auc, members, others, 0.0), _bound(auc, members, others, 1.0)


def _bound(auc: float, members: int, others: int, end: float) -> float:
    """Return the value furthest towards `end` from which `auc` deviates by no more than `Z` standard errors."""
    near, far = auc, end
    for _ in range(_STEPS):
        middle = (near + far) / 2
        if abs(auc - middle) <= Z * math.sqrt(_variance(middle, members, others)):
            near = middle
        else:
            far = middle
    return near


def _variance(auc: float, members: int, others: int) -> float:
    """Return the variance of the estimate where the truth is `auc` (Hanley and McNeil 1982, symmetric)."""
    pairs = (members + others) / 2 - 1
    spread = 1 + pairs * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * spread / (members * others)
