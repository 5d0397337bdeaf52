"""Batches: files of jobs as objects on the server, and the files they read and write."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from fleet.model.attempt import Usage
from fleet.model.job import JobOptions
from fleet.model.money import NanoUsd

FILE_ID = re.compile(r"file-[0-9a-f]{24}")
BATCH_ID = re.compile(r"batch_[0-9a-f]{24}")
"""Patterns of ids. Each becomes one token of a subject."""

NO_USAGE = Usage()

MOST_PROBLEMS = 100
"""Maximum number of problems that a batch lists; it counts them all."""


class Purpose(StrEnum):
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


class Segment(NamedTuple):
    """A stored part of a file that never changes: `chunks` messages under a random name of 16 hex digits."""

    name: str
    bytes: int
    rows: int
    chunks: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a tenant; times are unix seconds. Until it is `closed` it grows, and nothing in it ever changes.

    A file that a batch writes, `batch_id`, has its segments in that batch's entry and is closed when the batch ends.
    """

    id: str
    tenant: str
    filename: str
    purpose: Purpose
    created_at: float
    expires_at: float | None = None
    segments: tuple[Segment, ...] = ()
    closed: bool = False
    batch_id: str | None = None

    @property
    def bytes(self) -> int:
        return sum(segment.bytes for segment in self.segments)

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)


class BatchStatus(StrEnum):
    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class LineProblem:
    """The reason why a line is no job. `line` counts from 1 and `byte` from 0: where the line begins in its file.

    `line` 0 is the file as a whole.
    """

    line: int
    byte: int
    custom_id: str | None
    field: str
    rule: str


class Place(NamedTuple):
    """A place in the input: before row number `row` there are `line` lines, and the next begins at `byte`."""

    row: int = 0
    line: int = 0
    byte: int = 0


START = Place()

BUDGET_SPENT = "budget_spent"
"""The status of rows that did not run because what was left of the batch's `max_cost` did not cover them."""


class RowCount(NamedTuple):
    """The number of rows that ended alike: with the status and the reason of their result, or with the word of their
    error where they have none.
    """

    status: str
    reason: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch's runner is. Nobody else writes this, and others read of it only whether the batch is leased.

    Rows are numbered from 0 in the order of their file. Those below `below` are done, which means that what came of
    them is in the batch's files, and so are the ones that `beyond` names. No row from `claimed` on was ever submitted.
    Reading goes on at `place`. `owner` runs the batch until `leased_until`, unix seconds, and longer if it says so in
    time.
    """

    below: int = 0
    beyond: str = ""
    claimed: int = 0
    place: Place = START
    owner: str | None = None
    leased_until: float = 0.0

    def is_leased(self, now: float) -> bool:
        """Return whether a process runs the batch, as far as anybody knows."""
        return self.owner is not None and self.leased_until > now


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of a tenant; times are unix seconds, None until it happened.

    `defaults` are options for its rows that do not state their own. With `keep_going` a line that is no job does not
    fail the batch. All rows together cost at most `max_cost_nano_usd`. A batch that `retries` another runs those of
    its rows that have no answer. `completed` and `failed` count the rows that are done, and `outcomes` what became of
    them, the most frequent first. `output` and `errors` are the segments of its two files. `told` says that its end was
    announced as an event.
    """

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    completion_window_seconds: float
    created_at: float
    metadata: Mapping[str, str] = field(default_factory=dict)
    defaults: JobOptions = field(default_factory=JobOptions)
    keep_going: bool = False
    max_cost_nano_usd: NanoUsd | None = None
    output_expires_seconds: float | None = None
    retries: str | None = None
    status: BatchStatus = BatchStatus.VALIDATING
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    problems: tuple[LineProblem, ...] = ()
    problem_count: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    outcomes: tuple[RowCount, ...] = ()
    usage: Usage = NO_USAGE
    cost_nano_usd: NanoUsd = 0
    output: tuple[Segment, ...] = ()
    errors: tuple[Segment, ...] = ()
    told: bool = False
    progress: Progress = Progress()

    @property
    def is_budget_spent(self) -> bool:
        """Whether the batch ended before its rows did, because they would have cost more than they may."""
        return any(each.status == BUDGET_SPENT for each in self.outcomes)

    @property
    def expires_at(self) -> float:
        return self.created_at + self.completion_window_seconds

    @property
    def output_file_id(self) -> str | None:
        """The file of answers, readable from its first row on; None while there is none."""
        return output_id(self.id) if self.output else None

    @property
    def error_file_id(self) -> str | None:
        """The file of rows without an answer, readable from its first row on; None while there is none."""
        return errors_id(self.id) if self.errors else None


def output_id(batch_id: str) -> str:
    return _file_id(batch_id, "output")


def errors_id(batch_id: str) -> str:
    return _file_id(batch_id, "errors")


def _file_id(batch_id: str, part: str) -> str:
    return f"file-{hashlib.blake2b(f'{batch_id} {part}'.encode(), digest_size=12).hexdigest()}"


def cancelling(batch: Batch, now: float) -> Batch | None:
    """Return the batch as one to be cancelled; None if it has ended, is about to, or is being cancelled."""
    if batch.status not in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
        return None
    return replace(batch, status=BatchStatus.CANCELLING, cancelling_at=now)
