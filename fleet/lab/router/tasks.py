"""The rival that a router must beat where jobs say their task: a table of one gain for each task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleet.lab.metrics.curve import Array

_PRIOR_ROWS = 2.0
"""Weight, in rows, of the mean gain over all tasks in that of one: a task with few rows should not jump."""


def gains_by_task(known: Sequence[str], gain: Array, asked: Sequence[str]) -> Array:
    """Return what the strong target gains on the known rows of each asked row's task; the mean for unknown tasks."""
    overall = float(gain.mean())
    names, place = np.unique(np.array(known, dtype=object), return_inverse=True)
    sums, counts = np.bincount(place, weights=gain), np.bincount(place)
    means = dict(zip(names, (sums + _PRIOR_ROWS * overall) / (counts + _PRIOR_ROWS), strict=True))
    return np.array([means.get(task, overall) for task in asked])
