"""The findings about a table, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fleet.lab.evaluation.report import plain


@dataclass(frozen=True, slots=True)
class TablePoint:
    """A table on the rows that are asked: its share of good answers, and its price over the best single model's.

    `worth` is the share of good answers that the best single model's price was taken to be worth.
    """

    worth: float
    right: float
    price_share: float


@dataclass(frozen=True, slots=True)
class TablePromise:
    """The promise that was tried: with probability 1 - delta the table is right at most `risk` less often.

    `kept` says whether a table passed the test on these labels; without one every task has the best single model.
    `violation_rate` is the share of `resamples` draws of labels in which the promise was broken.
    """

    risk: float
    delta: float
    kept: bool
    resamples: int
    violation_rate: float


@dataclass(frozen=True, slots=True)
class TableReport:
    """A table fitted to one file and judged on another, `n` rows. All but `price_share` are mean goodness in [0, 1].

    The rivals: the best single model, the best of 40 nearest neighbours, a ridge regression over TF-IDF, the oracle.
    `points` are other tables, from quality alone to the cheapest; `unseen` is the share of rows of a task that was not
    in the first file.
    """

    file: str
    asked: str
    labels: int
    n: int
    models: int
    right: float
    price_share: float
    best_single: float
    knn: float
    tfidf: float
    oracle: float
    unseen: float
    single_model: str
    table: Mapping[str, str]
    points: Sequence[TablePoint]
    promise: TablePromise | None

    def as_json(self) -> dict[str, Any]:
        """Return all of it ready for `json.dumps`, the promise's violations on top."""
        found: dict[str, Any] = plain(asdict(self))
        found["violation_rate"] = None if self.promise is None else self.promise.violation_rate
        return found
