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

    def reserve(self, job_id: str, spent: NanoUsd, rows_left: int) -> float:
        """Return the most that this row may cost, in US dollars: an equal share for each that may be in flight."""
        self.release(job_id)
        slots = max(1, min(self._window - len(self._limits), rows_left))
        left = self._max_cost - spent - sum(self._limits.values())
        limit = self._limits[job_id] = max(0, left // slots)
        return limit / NANO if limit else FREE_USD

    def release(self, job_id: str) -> None:
        self._limits.pop(job_id, None)
