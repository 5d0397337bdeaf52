"""`fleet evaluate --table`: fits a table to recorded answers of many models and judges it on other rows."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import numpy as np

from fleet.lab.table import rivals
from fleet.lab.table.files import Indices, Pool, joined, read_pools
from fleet.lab.table.fit import WORTH, best_single, goodness, price_share, table_at, tables
from fleet.lab.table.promise import checked, promised_table, violations
from fleet.lab.table.report import TablePoint, TablePromise, TableReport
from fleet.model.errors import ConfigError

RESAMPLES = 500
FEWEST_ROWS = 100
_SEED = 16


def evaluate_table(
    path: Path,
    on: Path,
    guarantee: tuple[float, float] | None = None,
    resamples: int = RESAMPLES,
    price: float | None = None,
) -> TableReport:
    """Fit a table to the rows of `path` and judge it on those of `on`.

    Without a guarantee it is the table of the best answers, with `price` the one that costs at most this share of the
    best single model's price. With a guarantee (risk, delta) it is the cheapest that passes the
    test; the promise is then tried on `resamples` draws of as many labels, with replacement, from both files together.
    Raises: ConfigError that names the file, line, column and rule, or the option; OSError if a file cannot be read.
    """
    known, asked = read_pools(path, on)
    if len(known) < FEWEST_ROWS:
        raise ConfigError(str(path), f"must have at least {FEWEST_ROWS} rows to fit a table, not {len(known)}")
    single, choices = best_single(known), tables(known)
    chosen, promise = choices[0] if price is None else table_at(known, price), None
    if guarantee is not None:
        chosen, single, promise = _promised(known, asked, guarantee, resamples, price)
    return TableReport(
        file=known.name,
        asked=asked.name,
        labels=len(known),
        n=len(asked),
        models=len(known.models),
        right=_right(asked, chosen),
        price_share=price_share(asked, chosen[asked.task], single),
        best_single=float(asked.good[:, single].mean()),
        knn=rivals.knn(known, asked),
        tfidf=rivals.tfidf(known, asked),
        oracle=rivals.oracle(asked),
        unseen=float(np.mean(~np.isin(asked.task, known.task))),
        single_model=known.models[single],
        table={name: known.models[model] for name, model in zip(known.tasks, chosen, strict=True)},
        points=[_point(asked, *each, single) for each in zip(WORTH, choices, strict=True)],
        promise=promise,
    )


def _promised(
    known: Pool, asked: Pool, guarantee: tuple[float, float], resamples: int, most: float | None
) -> tuple[Indices, int, TablePromise]:
    risk, delta = checked(guarantee)
    rng = np.random.default_rng(_SEED)
    found = promised_table(known, risk, delta, rng, most)
    broken = violations(joined(known, asked), len(known), guarantee, resamples, rng, most)
    promise = TablePromise(risk, delta, found.passed, resamples, fmean(broken))
    return found.chosen, found.single, promise


def _right(asked: Pool, table: Indices) -> float:
    return float(goodness(asked, table).mean())


def _point(asked: Pool, worth: float, table: Indices, single: int) -> TablePoint:
    return TablePoint(worth, _right(asked, table), price_share(asked, table[asked.task], single))
