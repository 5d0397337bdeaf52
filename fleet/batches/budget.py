"""Shares out what a batch may cost among its rows in flight, so that all together never cost more."""

from __future__ import annotations

from fleet.model.money import NanoUsd

NANO = 1e9

FREE_USD = 1e-15
"""The limit of a row where nothing is left: only targets that cost nothing run it."""


class RowBudget:
    """The limits of the rows in flight. What they and all rows before them cost is never above `max_cost`."""

    def __init__(self, max_cost: NanoUsd, window: int) -> None:
        self._max_cost = max_cost
        self._window = window
        self._limits: dict[str, NanoUsd] = {}
        self._reserved: NanoUsd = 0

    def reserve(self, job_id: str, most: NanoUsd, spent: NanoUsd, rows_left: int) -> float | None:
        """Return the limit of this row, in US dollars; None while what is left does not cover the `most` it may cost.

        The limit is `most`, or an equal share for each row that may be in flight if that is more.
        """
        if job_id not in self._limits:
            left = max(0, self._max_cost - spent - self._reserved)
            if most > left:
                return None
            slots = max(1, min(self._window - len(self._limits), rows_left))
            limit = self._limits[job_id] = max(most, left // slots)
            self._reserved += limit
        return self._limits[job_id] / NANO or FREE_USD

    def release(self, job_id: str) -> None:
        self._reserved -= self._limits.pop(job_id, 0)
