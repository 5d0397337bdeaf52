"""The ways in which a batch ends before its rows do."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.batch import BUDGET_SPENT as BUDGET_SPENT_ROW
from fleet.model.batch import BatchStatus


@dataclass(frozen=True, slots=True)
class Ending:
    """The status that the batch ends with, and what is said of each row that has no result."""

    status: BatchStatus
    code: str
    message: str


EXPIRED = Ending(
    BatchStatus.EXPIRED,
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
CANCELLED = Ending(
    BatchStatus.CANCELLED, "batch_cancelled", "This request was not executed because the batch was cancelled."
)
BUDGET_SPENT = Ending(
    BatchStatus.COMPLETED,
    BUDGET_SPENT_ROW,
    "This request was not executed because what is left of the batch's max_cost does not cover what it may cost.",
)
