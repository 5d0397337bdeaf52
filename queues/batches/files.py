"""The files of a tenant: an entry each that names its segments, whose chunks lie in a stream of their own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from fleet.logs import get_logger
from fleet.model.batch import FILE_ID, Batch, Purpose, Segment, StoredFile, errors_id
from fleet.model.errors import PartMissing, QueueUnavailable
from queues.batches.lists import add_to_list, ids_in_list, remove_from_list
from queues.batches.shelf import PAUSE_SECONDS, Shelf, rewrite
from queues.wire.batches.records import Claim, decode_batch, decode_claim, decode_file, encode_claim, encode_file
from queues.wire.letters import Message
from queues.wire.subjects import batch_key, file_chunk_subject, file_key, upload_key

CHUNK_BYTES = 128 * 1024
"""Bytes per chunk: within the smallest message limit in use."""

CHUNKS_AT_ONCE = 32
"""Chunks written or asked for at once: the server cuts the connection of a client for which more than 64 MB wait."""

EMPTIED_AT_ONCE = 1_000
"""Chunks of a deleted file emptied at once."""

ENTRIES_AT_ONCE = 100
"""Entries asked for at once."""

MISSING_TRIES = 10
MISSING_PAUSE_SECONDS = 0.5
"""How often, and how many seconds apart, a chunk that is not there is asked for: one server of a cluster may lag."""

log = get_logger(__name__)


class TenantFiles:
    """Implements `fleet.ports.FileStore`. `now` gives unix seconds."""

    def __init__(self, shelf: Shelf, tenant: str, now: Callable[[], float] = time.time) -> None:
        self._shelf = shelf
        self._tenant = tenant
        self._now = now

    async def create(
        self,
        filename: str,
        purpose: Purpose = Purpose.BATCH,
        expires_at: float | None = None,
        file_id: str | None = None,
        batch_id: str | None = None,
    ) -> StoredFile:
        file_id = file_id or f"file-{secrets.token_hex(12)}"
        file = StoredFile(file_id, self._tenant, filename, purpose, self._now(), expires_at, batch_id=batch_id)
        await add_to_list(self._shelf, self._tenant, "file", file.id, file.created_at)
        # It is there already where a step is repeated.
        await rewrite(self._shelf, self._key(file.id), lambda there: None if there else encode_file(file))
        return file

    async def append(self, file_id: str, content: bytes, rows: int = 0) -> StoredFile | None:
        file = await self.info(file_id)
        if file is None or file.closed or file.batch_id is not None:
            return None
        segment = await self.write(file_id, content, rows)

        def with_segment(there: StoredFile) -> StoredFile | None:
            return None if there.closed else replace(there, segments=(*there.segments, segment))

        return await self._change(file_id, with_segment)

    async def write(self, file_id: str, content: bytes, rows: int) -> Segment:
        pieces = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
        # A name that nobody else has: nothing is ever written over.
        segment = Segment(secrets.token_hex(8), len(content), rows, len(pieces))
        subjects = (self._subject(file_id, segment, number) for number in range(len(pieces)))
        chunks = map(Message, subjects, pieces)
        while portion := list(islice(chunks, CHUNKS_AT_ONCE)):
            await self._shelf.store(portion)
        return segment

    async def close(self, file_id: str, expires_at: float | None = None) -> StoredFile | None:
        return await self._change(
            file_id, lambda file: replace(file, closed=True, expires_at=expires_at or file.expires_at)
        )

    async def _change(self, file_id: str, change: Callable[[StoredFile], StoredFile | None]) -> StoredFile | None:
        if FILE_ID.fullmatch(file_id) is None:
            return None
        changed: StoredFile | None = None

        def rewritten(there: bytes) -> bytes | None:
            nonlocal changed
            file = self._readable(file_id, there)
            changed = None if file is None else change(file)
            return None if changed is None else encode_file(changed)

        await rewrite(self._shelf, self._key(file_id), rewritten)
        return changed

    async def info(self, file_id: str) -> StoredFile | None:
        if FILE_ID.fullmatch(file_id) is None:
            return None
        [cell] = await self._shelf.entries([self._key(file_id)])
        file = self._readable(file_id, cell.value)
        return None if file is None else (await self._filled([file]))[0]

    async def _filled(self, files: Sequence[StoredFile]) -> Sequence[StoredFile]:
        """Return the files, those that a batch writes with the segments that are in the batch's entry."""
        written = [file for file in files if file.batch_id is not None]
        cells = await self._shelf.entries([batch_key(self._tenant, str(file.batch_id)) for file in written])
        entries = {file.id: cell.value for file, cell in zip(written, cells, strict=True)}
        return [_with_segments(file, entries[file.id]) if file.id in entries else file for file in files]

    async def read(self, file_id: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        file = await self.info(file_id)
        if file is None:
            return
        parts = _parts(file, max(0, start), file.bytes if end is None else min(end, file.bytes))
        while portion := list(islice(parts, CHUNKS_AT_ONCE)):
            subjects = [self._subject(file.id, segment, number) for segment, number, _ in portion]
            needed = [part.stop for _, _, part in portion]
            for chunk, (_, _, part) in zip(await self._chunks(file_id, subjects, needed), portion, strict=True):
                yield chunk[part]

    async def _chunks(self, file_id: str, subjects: Sequence[str], needed: Sequence[int]) -> Sequence[bytes]:
        """Return the chunks, at least so many bytes of each; a server that lags is asked again. Raises: PartMissing."""
        for _ in range(MISSING_TRIES):
            found = await self._shelf.chunks(subjects)
            there = [chunk for chunk in found if chunk is not None]
            if len(there) == len(subjects):
                break
            await asyncio.sleep(MISSING_PAUSE_SECONDS)
        # A short one is of a file that was deleted a moment ago, or was never what its entry says.
        if len(there) < len(subjects) or any(len(chunk) < size for chunk, size in zip(there, needed, strict=True)):
            raise PartMissing(f"{file_id}: a part of it cannot be read")
        return there

    async def list(self) -> Sequence[StoredFile]:
        ids = await ids_in_list(self._shelf, self._tenant, "file")
        found: list[StoredFile] = []
        for start in range(0, len(ids), ENTRIES_AT_ONCE):
            some = ids[start : start + ENTRIES_AT_ONCE]
            cells = await self._shelf.entries([self._key(each) for each in some])
            files = (self._readable(each, cell.value) for each, cell in zip(some, cells, strict=True))
            found += await self._filled([file for file in files if file is not None])
        return found

    async def delete(self, file_id: str) -> bool:
        if FILE_ID.fullmatch(file_id) is None:
            return False
        file = await self.info(file_id)
        # First the entry, so that nobody begins to read what is emptied next.
        removed = await rewrite(self._shelf, self._key(file_id), lambda there: b"" if there else None)
        await remove_from_list(self._shelf, self._tenant, "file", file_id)
        if file is not None:
            with suppress(QueueUnavailable):  # nothing names the chunks any more, and they go with their age
                await self._empty(file)
        return removed

    async def _empty(self, file: StoredFile) -> None:
        """Replace every chunk by an empty one: the stream keeps the last message under each subject."""
        places = ((segment, number) for segment in file.segments for number in range(segment.chunks))
        while portion := list(islice(places, EMPTIED_AT_ONCE)):
            subjects = [self._subject(file.id, segment, number) for segment, number in portion]
            await self._shelf.store([Message(subject, b"") for subject in subjects])

    async def claim(self, upload: str, file: StoredFile, content: str, since: float) -> tuple[StoredFile, str]:
        while True:
            [cell] = await self._shelf.entries([upload_key(self._tenant, upload)])
            claim = decode_claim(cell.value)
            earlier = None if claim is None else await self.info(claim.file_id)
            if claim is not None and earlier is not None and earlier.created_at >= since:
                return earlier, claim.content
            body = encode_claim(Claim(file.id, content))
            if await self._shelf.write(upload_key(self._tenant, upload), body, cell.revision) is not None:
                return file, content
            await asyncio.sleep(PAUSE_SECONDS)

    async def count(self) -> int:
        return len(await ids_in_list(self._shelf, self._tenant, "file"))

    def _readable(self, file_id: str, body: bytes) -> StoredFile | None:
        """Return the file; None where there is none, where it has expired, or where its entry is another's."""
        if not body:
            return None
        try:
            file = decode_file(body)
        except ValueError as error:
            log.warning("file_left_out", tenant=self._tenant, file=file_id, problem=str(error))
            return None
        is_there = file.expires_at is None or self._now() < file.expires_at
        return file if is_there and (file.id, file.tenant) == (file_id, self._tenant) else None

    def _key(self, file_id: str) -> str:
        return file_key(self._tenant, file_id)

    def _subject(self, file_id: str, segment: Segment, number: int) -> str:
        return file_chunk_subject(self._tenant, file_id, segment.name, number)


def _with_segments(file: StoredFile, entry: bytes) -> StoredFile:
    try:
        batch: Batch = decode_batch(entry)
    except ValueError:
        return file  # the batch is gone before its file
    segments = batch.errors if file.id == errors_id(batch.id) else batch.output
    return replace(file, segments=segments, closed=batch.status.is_final)


def _parts(file: StoredFile, start: int, end: int) -> Iterator[tuple[Segment, int, slice]]:
    """Yield the chunks that hold the bytes from `start` to before `end`, by number, and what of each belongs to it."""
    at = 0
    for segment in file.segments:
        first, at = at, at + segment.bytes
        if at <= start or first >= end:
            continue
        for number in range(segment.chunks):
            begins = first + number * CHUNK_BYTES
            here = slice(max(0, start - begins), min(CHUNK_BYTES, segment.bytes - number * CHUNK_BYTES, end - begins))
            if here.start < here.stop:
                yield segment, number, here
