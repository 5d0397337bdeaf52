"""The findings about a semantic cache, as plain values. Shares are in [0, 1], of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fleet.lab.evaluation.report import plain


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule on the rows that are asked, as means over the draws.

    `wrong` is the share of requests that are served and should not be, `most_wrong` that of the worst draw, and
    `violation_rate` the share of draws in which it is above the promised risk. `labels` is how many labels a draw used.
    """

    name: str
    hits: float
    wrong: float
    most_wrong: float
    violation_rate: float
    labels: float


@dataclass(frozen=True, slots=True)
class StreamReport:
    """A stream evaluated: `cached` of its rows are in the cache, redrawn `caches` times, and `asked` are asked.

    `unanswerable` is the share of those asked that have no right answer, and `reach` the share whose nearest question
    has the right one: no rule hits more without being wrong. `labels_missing` says how many labels more it takes before
    anything may be served.
    """

    file: str
    rows: int
    cached: int
    asked: int
    caches: int
    unanswerable: float
    reach: float
    risk: float
    delta: float
    labels: int
    resamples: int
    labels_missing: int
    encoder: str
    rules: Sequence[Rule]

    def as_json(self) -> dict[str, Any]:
        """Return all of it ready for `json.dumps`, the hits and violations of the first two rules on top."""
        first, cosine, *_ = self.rules
        top = {"hits": first.hits, "violation_rate": first.violation_rate}
        beside = {"cosine_hits": cosine.hits, "cosine_violation_rate": cosine.violation_rate}
        values: dict[str, Any] = plain(top | beside | asdict(self))
        return values


@dataclass(frozen=True, slots=True)
class Category:
    """The pairs of one category that are alike in having the same answer or not, and the share that is served."""

    name: str
    same: bool
    pairs: int
    served: float


@dataclass(frozen=True, slots=True)
class TrapsReport:
    """Pairs evaluated: what is served of those that must not be, and of those that should be, as shares of either.

    `fitted_on` says which pairs the score and the threshold come from; `calibration_*` how it did on them.
    """

    file: str
    traps: int
    traps_served: float
    should_hits: int
    should_hits_served: float
    risk: float
    delta: float
    fitted_on: str
    calibration_traps: int
    calibration_should_hits_served: float
    labels_missing: int
    encoder: str
    categories: Sequence[Category]

    def as_json(self) -> dict[str, Any]:
        values: dict[str, Any] = plain(asdict(self))
        return values
