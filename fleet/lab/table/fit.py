"""Fits tables: for each task the model whose answers are worth most for their price."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleet.lab.metrics.curve import Array
from fleet.lab.table.files import Indices, Pool
from fleet.model.errors import ConfigError

_PRIOR_ROWS = 2.0
"""Weight, in rows, of a model's mean over all tasks in its mean of one: a task with few rows should not jump."""

WORTH = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.18, 0.27, 0.4, 0.6, 1.0, 2.0)
"""Shares of good answers that the price of the best single model is worth: from quality alone to a strict budget."""


_FINE = (0.0, *np.geomspace(0.001, 10.0, 400).tolist())
"""Worths so close to each other that between two of them at most a task or two change their model."""


_ROUNDING = 1e-9


def best_single(pool: Pool) -> int:
    """Return the model with most good answers; the cheaper one of two that are equal."""
    mean = pool.good.mean(axis=0)
    return min(range(len(pool.models)), key=lambda model: (-mean[model], pool.price[model]))


def task_means(pool: Pool) -> Array:
    """Return the mean goodness of each task (row) and model, drawn a little to the model's over all tasks."""
    here = np.zeros((len(pool.tasks), len(pool)))
    here[pool.task, np.arange(len(pool))] = 1.0
    overall: Array = pool.good.mean(axis=0)
    means: Array = (here @ pool.good + _PRIOR_ROWS * overall) / (here.sum(axis=1, keepdims=True) + _PRIOR_ROWS)
    return means


def tables(pool: Pool, worths: Sequence[float] = WORTH) -> Indices:
    """Return a table, a model for each task, for each of these worths of money. A task without rows gets the single."""
    single = best_single(pool)
    means, price = task_means(pool), pool.price / pool.price[single]
    found = np.array([np.argmax(means - worth * price, axis=1) for worth in worths], dtype=np.intp)
    found[:, np.setdiff1d(np.arange(len(pool.tasks)), pool.task)] = single
    return found


def table_at(pool: Pool, most: float) -> Indices:
    """Return the table of the best answers that costs at most this share of the best single model's price.

    Raises: ConfigError if even the cheapest table costs more.
    """
    single = best_single(pool)
    found = tables(pool, _FINE)
    costs = [price_share(pool, table[pool.task], single) for table in found]
    at = next((place for place, cost in enumerate(costs) if cost <= most), None)
    if at is None:
        raise ConfigError("--price", f"must be at least {min(costs):.3g}: no table of {pool.name} costs less")
    return _filled(pool, found[at].copy(), most * len(pool) * float(pool.price[single]))


def _filled(pool: Pool, table: Indices, budget: float) -> Indices:
    """Return the table with better models for single tasks, most gain first, as long as the budget pays for them.

    Between two tables that a worth of money chooses the price jumps by a whole task.
    """
    rows = np.bincount(pool.task, minlength=len(pool.tasks))[:, None]
    means, every = task_means(pool) * rows, np.arange(len(table))
    while True:
        left = budget - float(rows[:, 0] @ pool.price[table])
        gains = means - means[every, table][:, None]
        costs = (pool.price[None, :] - pool.price[table][:, None]) * rows
        gains = np.where((gains > _ROUNDING) & (costs <= left), gains, 0.0)
        if not gains.any():
            return table
        task, model = np.unravel_index(np.argmax(gains), gains.shape)
        table[task] = model


def goodness(pool: Pool, table: Indices) -> Array:
    """Return how good the answer to each row is if the table chooses who gives it."""
    found: Array = pool.good[np.arange(len(pool)), table[pool.task]]
    return found


def price_share(pool: Pool, chosen: Indices, single: int) -> float:
    """Return the price of the model chosen for each row, as a share of what the best single model costs."""
    return float(pool.price[chosen].mean() / pool.price[single])
