"""The seams of files and batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

from fleet.model.batch import Batch, Purpose, Segment, StoredFile


class FileStore(Protocol):
    """The files of one tenant. Every method raises `QueueUnavailable`; a file of another tenant is not there."""

    async def create(
        self,
        filename: str,
        purpose: Purpose = ...,
        expires_at: float | None = None,
        file_id: str | None = None,
        batch_id: str | None = None,
    ) -> StoredFile:
        """Make an empty file, open to be appended to; with a `batch_id` it is what that batch writes.

        With a `file_id` a repetition changes nothing.
        """

    async def append(self, file_id: str, content: bytes, rows: int = 0) -> StoredFile | None:
        """Append a piece, at most a few megabytes, and return the file; None if it is not there or is closed.

        If this raises, the piece may have been appended.
        """

    async def close(self, file_id: str, expires_at: float | None = None) -> StoredFile | None:
        """Let the file grow no more, and expire then if that is given; return it, or None if it is not there."""

    async def info(self, file_id: str) -> StoredFile | None: ...

    def read(self, file_id: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`, in pieces, as far as the file goes when it is called.

        Yields nothing if the file is not there: ask `info` first.
        """

    async def list(self) -> Sequence[StoredFile]:
        """Return the tenant's files, newest first."""

    async def count(self) -> int:
        """Return how many files the tenant has, some that have expired included."""

    async def delete(self, file_id: str) -> bool:
        """Remove the file and its content; return False if it is not there. Who reads it just then fails."""

    async def claim(self, upload: str, file: StoredFile, content: str, since: float) -> tuple[StoredFile, str]:
        """Return the one file that stands for an upload of this name, with the digest of its content.

        That is the file that claimed the name before, if it was made at `since` (unix seconds) or later and is still
        there, and else this one.
        """

    async def write(self, file_id: str, content: bytes, rows: int) -> Segment:
        """Store a segment that is part of no file until an entry names it."""


class BatchStore(Protocol):
    """The batches of one tenant. Every method raises `QueueUnavailable`; one of another tenant is not there."""

    async def create(self, batch: Batch) -> bool:
        """Store a new batch for its runner to find; return False if its id is taken."""

    async def get(self, batch_id: str) -> tuple[Batch, int] | None:
        """Return the batch and its revision."""

    async def update(self, batch: Batch, revision: int) -> int | None:
        """Replace this revision and return the new one; None if the batch has changed since.

        If this raises, it may have been replaced.
        """

    async def list(self, limit: int | None = None, after: str | None = None) -> Sequence[Batch]:
        """Return the tenant's batches, newest first; with `after`, those made before that one."""

    def watch(self, batch_id: str) -> AsyncIterator[Batch]:
        """Yield the batch, now and as it changes, up to its end; nothing if it is not there. Outages are waited out."""


class AllBatches(Protocol):
    """The runner's view of the batches of all tenants. Every method raises `QueueUnavailable`."""

    async def unfinished(self) -> Sequence[tuple[Batch, int]]:
        """Return every batch that has not ended, or whose end is not told, with its revision; oldest first."""

    async def changed(self, timeout_seconds: float) -> None:
        """Return once a batch may have been made or changed by anyone, or after the timeout."""

    async def known(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        """Return those of the tenant's jobs in lane bulk that wait, are in hand, or have a result at this moment."""

    def files(self, tenant: str) -> FileStore: ...

    def batches(self, tenant: str) -> BatchStore: ...
