"""The answers of a target to a task in one week, with what is known of their goodness and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.lab.metrics.curve import Array

Flags = npt.NDArray[np.bool_]

MOST_WEIGHT = 20.0
"""Maximum that one known answer counts for: a rarer one is clipped, and the clipped share is reported."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Answers of which it is known whether keeping them costs something, m values in every column.

    `good` says whether the answer was good, `strong_good` whether that of the stronger target was. Each was to be known
    with its `propensity`: 1 where both answers are there anyway and can be compared, less where a sample was drawn.
    """

    confidence: Array
    good: Flags
    strong_good: Flags
    propensity: Array

    def __len__(self) -> int:
        return len(self.good)

    def those(self, which: Flags) -> Judged:
        return Judged(self.confidence[which], self.good[which], self.strong_good[which], self.propensity[which])

    @property
    def weights(self) -> Array:
        """How many answers each stands for, in units of the most often drawn kind; clipped."""
        most = self.propensity.max(initial=0.0)
        found: Array = np.minimum(most / self.propensity, MOST_WEIGHT)
        return found

    @property
    def lost(self) -> Array:
        """1.0 where keeping the answer costs something: it is wrong and the stronger one right."""
        return (~self.good & self.strong_good).astype(np.float64)

    @property
    def gained(self) -> Array:
        """1.0 where keeping the answer is worth something: it is right and the stronger one wrong."""
        return (self.good & ~self.strong_good).astype(np.float64)

    @property
    def effective(self) -> float:
        """The number of evenly drawn answers that these are worth (Kish 1965)."""
        squares = float(self.weights @ self.weights)
        return 0.0 if squares == 0.0 else float(self.weights.sum()) ** 2 / squares

    @property
    def clipped(self) -> float:
        """The share of their weight that clipping took away."""
        whole = float((self.propensity.max(initial=0.0) / self.propensity).sum())
        return 0.0 if whole == 0.0 else 1.0 - float(self.weights.sum()) / whole


@dataclass(frozen=True, slots=True)
class OneAnswer:
    """An answer as the books and the comparisons have it; `good` is None where nobody judged. See WeekOfAnswers."""

    confidence: float
    kept: bool
    reason: str
    doubted: bool
    own_usd: float
    above_usd: float
    next_usd: float
    good: bool | None = None
    strong_good: bool | None = None
    propensity: float | None = None


def _judged(answers: Iterable[OneAnswer]) -> Judged:
    found = [each for each in answers if each.propensity is not None]
    return Judged(
        np.array([each.confidence for each in found]),
        np.array([each.good is True for each in found], dtype=np.bool_),
        np.array([each.strong_good is True for each in found], dtype=np.bool_),
        np.array([each.propensity for each in found], dtype=np.float64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class WeekOfAnswers:
    """The answers of `target` to `task`, one per job, n values in every column.

    An answer was kept, or its job went on for `reason`. Of those that went on, `doubted` were not confident enough and
    no more: a lower threshold would have kept them. `own_usd` is the answer's price, `above_usd` what the job cost
    after it, `next_usd` what the next target would have charged for a job that was kept. `went_on` are judged ones
    among those doubted this week, `stayed` judged ones among those kept, perhaps of more weeks than this one. `risk` is
    the share of jobs that the target may keep wrongly. `version` is the digest of the adapter that all were given with;
    empty: the target's own weights alone.
    """

    target: str
    task: str
    risk: float
    confidence: Array
    kept: Flags
    reason: Sequence[str]
    doubted: Flags
    own_usd: Array
    above_usd: Array
    next_usd: Array
    went_on: Judged
    stayed: Judged
    version: str = ""

    @classmethod
    def of(
        cls,
        target: str,
        task: str,
        risk: float,
        answers: Iterable[OneAnswer],
        older: Iterable[OneAnswer] = (),
        version: str = "",
    ) -> WeekOfAnswers:
        """Return the week of these answers; of `older` ones only those that were kept and are judged count."""
        rows = list(answers)
        return cls(
            target,
            task,
            risk,
            confidence=np.array([each.confidence for each in rows]),
            kept=np.array([each.kept for each in rows], dtype=np.bool_),
            reason=[each.reason for each in rows],
            doubted=np.array([each.doubted for each in rows], dtype=np.bool_),
            own_usd=np.array([each.own_usd for each in rows]),
            above_usd=np.array([each.above_usd for each in rows]),
            next_usd=np.array([each.next_usd for each in rows]),
            went_on=_judged(each for each in rows if each.doubted),
            stayed=_judged(each for each in (*rows, *older) if each.kept),
            version=version,
        )

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def usd(self) -> float:
        """What these jobs cost at this target and after it."""
        return float(self.own_usd.sum() + self.above_usd.sum())
