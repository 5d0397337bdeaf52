"""Fits a table of the fleet's targets to judged answers in a file, for ladders that begin with the target chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleet.lab.table.files import Pool, read_targets
from fleet.lab.table.fit import price_share
from fleet.lab.table.promise import checked, promised_table
from fleet.model.errors import ConfigError

FEWEST_ROWS = 100
_SEED = 16


@dataclass(frozen=True, slots=True)
class ChosenTarget:
    """The target chosen for a task, the share of its answers that is good, and the same of the best single target."""

    task: str
    target: str
    rows: int
    good: float
    single_good: float


@dataclass(frozen=True, slots=True)
class ChosenTable:
    """The cheapest table that passed the test, over `labels` rows; where none did, every task has the best `single`.

    The promise: with probability 1 - `delta` the table is right at most `risk` less often than `single` alone, over
    the mix of tasks in the file. `price_share` is its price over that of `single`.
    """

    file: str
    labels: int
    risk: float
    delta: float
    passed: bool
    single: str
    price_share: float
    tasks: tuple[ChosenTarget, ...]

    @property
    def chosen(self) -> Mapping[str, str]:
        return {each.task: each.target for each in self.tasks}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def table_of_answers(path: Path, price: Callable[[str], float | None], promise: tuple[float, float]) -> ChosenTable:
    """Fit the table on half of the rows and test it on the others.

    `price` gives dollars for an answer of a target; None if there is no such target.

    Raises: ConfigError that names the file, line, column and rule; OSError if the file cannot be read.
    """
    pool, (risk, delta) = read_targets(path, price), checked(promise)
    if len(pool) < FEWEST_ROWS:
        raise ConfigError(str(path), f"must have at least {FEWEST_ROWS} rows to fit a table, not {len(pool)}")
    found = promised_table(pool, risk, delta, np.random.default_rng(_SEED))
    return ChosenTable(
        path.name,
        len(pool),
        risk,
        delta,
        found.passed,
        pool.models[found.single],
        price_share(pool, found.chosen[pool.task], found.single),
        tuple(_of_task(pool, task, int(found.chosen[task]), found.single) for task in range(len(pool.tasks))),
    )


def _of_task(pool: Pool, task: int, chosen: int, single: int) -> ChosenTarget:
    good = pool.good[pool.task == task]
    means = float(good[:, chosen].mean()), float(good[:, single].mean())
    return ChosenTarget(pool.tasks[task], pool.models[chosen], len(good), *means)
