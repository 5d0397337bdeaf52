"""The settings of a batch's run: the stores of its tenant, and how rows are checked, ordered and submitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.bulk.inbox import Inbox
from fleet.model.submission import Submission
from fleet.ports import FileStore, JobDesk

WINDOW = 1_000
"""Rows of a batch in flight at once: every micro-batch of every target is full, and the queue stays short."""

TICK_SECONDS = 1.0

LEASE_SECONDS = 30.0
"""Seconds without a word of its runner after which another one may run a batch."""

RowCheck = Callable[[Submission, str], None]
"""Raises InvalidJob for a submission of a tenant that the fleet would refuse."""

Order = Callable[[Sequence[Submission]], Sequence[int]]
"""Returns the order in which to submit some rows, by their places among them."""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """The connections and stores that the batches of one tenant share."""

    desk: JobDesk
    inbox: Inbox
    files: FileStore


@dataclass(frozen=True, slots=True)
class RunSettings:
    """`check` refuses rows before any runs, `order` says which go first.

    `window` is the maximum number of rows of a batch in flight. `now` gives unix seconds, `monotonic` seconds.
    """

    check: RowCheck = lambda submission, tenant: None
    order: Order = lambda submissions: range(len(submissions))
    window: int = WINDOW
    lease_seconds: float = LEASE_SECONDS
    tick_seconds: float = TICK_SECONDS
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
