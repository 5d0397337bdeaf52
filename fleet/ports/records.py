"""The seams of what is kept about jobs and read afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from fleet.model.feedback import Feedback
from fleet.model.result import Kept, LedgerEntry, LedgerLine, LedgerStream


class DeadLetters(Protocol):
    """Messages that could not be read or finished. Every method raises `QueueUnavailable` if the broker is away."""

    def letters(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        """Yield the dead letters still kept, of the tenant or of all, oldest first."""

    async def latest(self, limit: int, before: int | None = None) -> Sequence[Kept]:
        """Return at most `limit` letters, newest first: of all, or of those numbered below `before`."""

    async def letter(self, sequence: int) -> Kept | None:
        """Return the dead letter with this number, or None."""

    async def redrive(self, kept: Kept, now: float) -> str:
        """Submit the letter's job again and return its new id; a repetition changes nothing. The letter stays.

        Raises: InvalidJob if the letter holds no job.
        """

    async def drop(self, sequence: int) -> bool:
        """Remove the letter with this number; return False if there was none."""

    async def close(self) -> None: ...


class Journal(Protocol):
    """Records of jobs, and feedback on their answers, up to the moment of asking."""

    def ledger(self, tenant: str | None = None, job_id: str | None = None) -> AsyncIterator[LedgerEntry]:
        """Yield every ledger entry still kept, of the tenant and of the job if given, oldest first.

        Raises: QueueUnavailable.
        """

    def feedback(self) -> AsyncIterator[Feedback]:
        """Yield all feedback still kept, oldest first. Raises: QueueUnavailable."""

    def unreadable(self) -> int:
        """Return how many messages were skipped so far because they could not be read; each has been logged."""

    async def close(self) -> None: ...


class LedgerFeed(Protocol):
    """The lines of accounts in the order of their stream, for the one process that writes them down."""

    async def begin(self, after: int, since: float | None = None) -> LedgerStream:
        """Start behind this message of the stream, whatever was taken before.

        With `since` start at the first message that was stored at or after this time (unix seconds) instead.

        Raises: QueueUnavailable.
        """

    async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
        """Return the next lines, up to `limit`; none if none comes within `wait_seconds`.

        Each line comes once and none is left out. Raises: QueueUnavailable, and then `begin` has to be called again.
        """

    async def written(self, sequence: int) -> None:
        """Tell the broker that all lines up to this one are written down. Raises: QueueUnavailable."""

    async def stream(self) -> LedgerStream:
        """Return the state of the stream. Raises: QueueUnavailable."""

    async def close(self) -> None: ...
