"""The seam between what sends calls in batches and what a provider's batches look like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from fleet.model.attempt import Failure, FailureKind, Outcome
from fleet.providers.failures import failure_of
from fleet.providers.sdk import Reply

CLOCKS_SECONDS = 300.0
"""How far a provider's clock may be off ours."""

PAGE = 100
"""Batches that a list returns at a time."""

PATIENCE_SECONDS = 60.0
"""The time for one request about a batch, the upload of its rows included."""

ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""Pattern of a provider's ids of batches and files."""


@dataclass(frozen=True, slots=True)
class Row:
    """A call in a batch. `id` is the provider's `custom_id`: 1 to 64 letters, digits, `_` and `-`."""

    id: str
    body: Mapping[str, Any]


class Progress(Enum):
    """How far a batch is. REFUSED: the provider took none of its rows."""

    RUNNING = auto()
    ENDED = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch as the provider describes it, whose own word for it is `word`.

    `why` is there where it is REFUSED. `files` are the places of its rows. `cut_short`: it expired or was cancelled, so
    rows that are in no file were not run, and nothing is charged for them.
    """

    progress: Progress
    word: str
    why: Failure | None = None
    files: Sequence[str] = ()
    cut_short: bool = False


UNFINISHED = Failure(FailureKind.OVERLOADED, "the batch ended before this row was run")

UnreadRow = Reply | Failure
"""What a batch says of a row: the reply it would have got over HTTP, or why there is none."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch that ended, by id. `complete` is False where a file is lost or has lines nobody can read."""

    found: Mapping[str, UnreadRow] = field(default_factory=dict)
    complete: bool = True


class Found(Enum):
    """The answers to whether a provider has a batch, where it does not say which."""

    ABSENT = auto()
    UNDECIDED = auto()


class BatchRefused(Exception):
    """Raised where a provider answers a request about a batch with an error, which `failure` is."""

    def __init__(self, failure: Failure, status: int) -> None:
        super().__init__(failure.detail)
        self.failure = failure
        self.status = status


class BatchApi(Protocol):
    """A provider's batches. Every method raises BatchRefused, and what `Sdk.request` raises."""

    async def create(self, name: str, rows: Sequence[Row]) -> str:
        """Make a batch of these rows and return the provider's id of it. `name` is ours: see `find`."""

    async def find(self, name: str, rows: Sequence[str], since: float) -> str | Found:
        """Return the id of the batch that was made under this name, of these rows, after `since` (unix seconds).

        UNDECIDED: one that still runs may be it.
        """

    async def state(self, batch_id: str) -> BatchState: ...

    async def rows(self, batch_id: str, state: BatchState) -> Rows:
        """Return the rows of a batch that has ended."""

    async def cancel(self, batch_id: str) -> None: ...


def read(provider: str, reply: Reply, now: float) -> Any:
    """Return the JSON document in a reply.

    Raises: BatchRefused if the reply is an error, or no document.
    """
    if reply.status != 200:
        raise BatchRefused(failure_of(provider, reply, now), reply.status)
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BatchRefused(Failure(FailureKind.MALFORMED, f"{provider} described no batch"), reply.status)
    return document


def id_in(document: Mapping[str, Any], provider: str) -> str:
    """Return the id in a description; it becomes part of addresses.

    Raises: BatchRefused if there is none.
    """
    found = document.get("id")
    if not isinstance(found, str) or not ID.fullmatch(found):
        raise BatchRefused(Failure(FailureKind.MALFORMED, f"{provider} gave no usable id"), 200)
    return found


def lines(body: bytes) -> tuple[list[Mapping[str, Any]], bool]:
    """Return the objects in lines of JSON, and whether every line is one."""
    found: list[Mapping[str, Any]] = []
    whole = True
    for line in body.splitlines():
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict) and isinstance(document.get("custom_id"), str):
            found.append(document)
        else:
            whole = False
    return found, whole


def outcome_of(unread: UnreadRow, provider: str, decode: Any, now: float) -> Outcome:
    """Return the outcome of a row; `decode` reads the body of a good reply.

    Raises: pydantic.ValidationError if the body is no reply.
    """
    if isinstance(unread, Failure):
        return unread
    if unread.status != 200:
        return failure_of(provider, unread, now)
    outcome: Outcome = decode(unread.body)
    return outcome
