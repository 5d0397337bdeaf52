"""Promises of a table: with probability 1 - delta it is right at most `risk` less often than the best single model.

The rows are halved. One half fits a path of tables, from quality alone to the cheapest. The other tests them in this
order, each at the level delta, until one fails; the last that passed is taken (fixed-sequence testing, Angelopoulos et
al. 2021, Learn then Test). The tested loss is the single model's goodness less the table's, in [-1, 1]: a model that is
right where the single one is wrong makes up for the opposite.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fleet.lab.metrics.bounds import betting
from fleet.lab.metrics.curve import Array
from fleet.lab.table.files import Indices, Pool
from fleet.lab.table.fit import WORTH, best_single, goodness, price_share, table_at, tables
from fleet.model.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class PromisedTable:
    """The table that was chosen, the single model that it is compared with, and whether any table passed the test.

    Where none passed, every task has the single model, which keeps the promise by itself.
    """

    chosen: Indices
    single: int
    passed: bool


def checked(promise: tuple[float, float]) -> tuple[float, float]:
    """Return the promise (risk, delta). Raises: ConfigError that names --guarantee."""
    if not all(0.0 < each < 1.0 for each in promise):
        raise ConfigError("--guarantee", "must be two numbers between 0 and 1, not {:g},{:g}".format(*promise))
    return promise


def promised_table(
    pool: Pool, risk: float, delta: float, rng: np.random.Generator, most: float | None = None
) -> PromisedTable:
    """Fit on a random half of the rows, test on the other, and return the cheapest table that keeps the promise.

    With `most` the path ends at the best table that costs at most this share of the single model's price.
    """
    order = rng.permutation(len(pool))
    fitted, tested = pool.rows(order[: len(pool) // 2]), pool.rows(order[len(pool) // 2 :])
    single = best_single(fitted)
    found = PromisedTable(np.full(len(pool.tasks), single, dtype=np.intp), single, passed=False)
    for table in _path(fitted, single, most):
        losses = loss(tested, table, single)
        if betting((losses + 1.0) / 2.0, (risk + 1.0) / 2.0, delta) > delta:
            break
        found = PromisedTable(table, single, passed=True)
    return found


def _path(pool: Pool, single: int, most: float | None) -> Iterator[Indices]:
    for table in tables(pool, WORTH):
        if most is not None and price_share(pool, table[pool.task], single) <= most:
            yield table_at(pool, most)
            return
        yield table
    if most is not None:
        yield table_at(pool, most)


def loss(pool: Pool, table: Indices, single: int) -> Array:
    """Return how much better the single model's answer to each row is than the table's, in [-1, 1]."""
    return pool.good[:, single] - goodness(pool, table)


def violations(
    pool: Pool,
    labels: int,
    promise: tuple[float, float],
    resamples: int,
    rng: np.random.Generator,
    most: float | None = None,
) -> Iterator[bool]:
    """Draw `labels` rows with replacement, choose a table by them, and yield whether the pool breaks its promise."""
    risk, delta = promise
    for _ in range(resamples):
        drawn = pool.rows(rng.integers(len(pool), size=labels))
        found = promised_table(drawn, risk, delta, rng, most)
        yield float(loss(pool, found.chosen, found.single).mean()) > risk
