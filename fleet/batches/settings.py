"""The settings of a batch's run: the stores of its tenant, and how rows are checked, ordered and submitted."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fleet.bulk.inbox import Inbox
from fleet.model.money import NanoUsd
from fleet.model.submission import Submission
from fleet.ports import FileStore, JobDesk

WINDOW = 1_000
"""Rows of a batch in flight at once: every micro-batch of every target is full, and the queue stays short."""

TICK_SECONDS = 1.0

LEASE_SECONDS = 30.0
"""Seconds without a word of its runner after which another one may run a batch."""

RowCheck = Callable[[Submission, str], None]
"""Raises InvalidJob for a submission of a tenant, complete with its batch's options, that the fleet would refuse."""

Order = Callable[[Sequence[Submission]], Sequence[int]]
"""Returns the order in which to submit some rows, by their places among them."""

RowPrice = Callable[[Submission, str], NanoUsd]
"""Returns the most that a submission of a tenant may cost."""


def free(submission: Submission, tenant: str) -> NanoUsd:
    return 0


async def all_free() -> RowPrice:
    return free


@dataclass(frozen=True, slots=True)
class Tenancy:
    """The connections and stores that the batches of one tenant share."""

    desk: JobDesk
    inbox: Inbox
    files: FileStore


@dataclass(frozen=True, slots=True)
class RunSettings:
    """`check` refuses rows before any runs, `order` says which go first, `prices` what each may cost at this moment.

    `window` is the maximum number of rows of a batch in flight. `now` gives unix seconds, `monotonic` seconds.
    """

    check: RowCheck = lambda submission, tenant: None
    order: Order = lambda submissions: range(len(submissions))
    prices: Callable[[], Awaitable[RowPrice]] = all_free
    window: int = WINDOW
    lease_seconds: float = LEASE_SECONDS
    tick_seconds: float = TICK_SECONDS
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
