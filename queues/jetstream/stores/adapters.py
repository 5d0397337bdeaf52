"""The adapters: a NATS key-value bucket that all dispatchers follow, an object store for files, and twins of both."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from fleet.logs import get_logger
from fleet.model.adapter import ADAPTER_DIGEST, ADAPTER_FILES, RegisteredAdapter, adapter_digest
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, PartMissing, QueueRefused
from queues.jetstream import api
from queues.jetstream.queue import store
from queues.jetstream.stores.bucket import JetStreamBucket, Kind, MemoryBucket
from queues.jetstream.stores.large import content_of
from queues.wire import subjects
from queues.wire.adapter import decode_adapter, encode_adapter
from queues.wire.letters import Message
from queues.wire.objects import chunk_subjects, object_messages, receipt_in_meta, receipt_of
from queues.wire.result import Receipt
from queues.wire.subjects import ADAPTER_FILES_BUCKET, ADAPTERS, object_chunk_subject, object_meta_subject

CHUNKS_AT_ONCE = 32
"""Messages stored at once: 4 MB, so that others' requests come in between."""

OVERHEAD_BYTES = 512
"""Bytes at most that a message takes beside its content: its subject, 160 bytes long, and the server's own."""

Adapters = Mapping[str, RegisteredAdapter]

log = get_logger(__name__)


def _left_out(subject: str, problem: str) -> None:
    log.warning("adapter_left_out", subject=subject, problem=problem)


ADAPTER = Kind("adapter", ADAPTERS, subjects.adapter_subject, encode_adapter, decode_adapter, _left_out)


class JetStreamAdapters(JetStreamBucket[RegisteredAdapter]):
    """Implements `fleet.ports.AdapterStore` on the bucket and the object store `adapters`."""

    kind = ADAPTER

    async def change(self, change: Callable[[Adapters], RegisteredAdapter]) -> RegisteredAdapter:
        unnamed: Collection[str] = ()

        def noted(there: Adapters) -> RegisteredAdapter:
            nonlocal unnamed
            changed = change(there)
            unnamed = _unnamed(there, {**there, changed.name: changed})
            return changed

        changed = await super().change(noted)
        await self._drop(unnamed)
        return changed

    async def remove(self, name: str, check: Callable[[Adapters], None] = lambda there: None) -> None:
        unnamed: Collection[str] = ()

        def noted(there: Adapters) -> None:
            nonlocal unnamed
            check(there)
            unnamed = _unnamed(there, {each: there[each] for each in there if each != name})

        await super().remove(name, noted)
        await self._drop(unnamed)

    async def watch(self, on_change: Callable[[Adapters], None]) -> None:
        # A version that was stable when the broker was heard last answers on.
        await super().watch(lambda known: None if known is None else on_change(known))

    async def put_files(self, digest: str, files: Mapping[str, bytes]) -> None:
        objects = _objects(digest, files)
        if None not in await self._receipts(digest):
            return
        info = await api.stream_info(self._connection, subjects.ADAPTER_FILES)
        if info.max_bytes:
            _check_room(objects, info.max_bytes - info.bytes, info.max_bytes)
        messages = (message for receipt, content in objects for message in object_messages(receipt, content))
        while portion := list(islice(messages, CHUNKS_AT_ONCE)):
            if Stored.REFUSED in await store(self._connection, portion):
                raise QueueRefused(
                    f"{subjects.ADAPTER_FILES}: the broker takes no message as large as a part of a file"
                )

    async def files(self, digest: str) -> Mapping[str, bytes] | None:
        receipts = await self._receipts(digest)
        contents = [None if each is None else await self._content(each) for each in receipts]
        return _whole(digest, contents)

    async def _receipts(self, digest: str) -> Sequence[Receipt | None]:
        """Return what is said of each of a version's files, None where nothing is. The leader of the stream says it."""
        if ADAPTER_DIGEST.fullmatch(digest) is None:
            return [None]
        names = _object_names(digest)
        asked = [object_meta_subject(name, ADAPTER_FILES_BUCKET) for name in names]
        found = await api.last_by_subject(self._connection, subjects.ADAPTER_FILES, asked)
        return [
            None if each is None else receipt_in_meta(each.data, ADAPTER_FILES_BUCKET, name)
            for name, each in zip(names, found, strict=True)
        ]

    async def _content(self, receipt: Receipt) -> bytes | None:
        return await content_of(self._connection, subjects.ADAPTER_FILES, receipt)

    async def _drop(self, digests: Collection[str]) -> None:
        """Remove the files of these versions, first what says that they are there."""
        metas = [object_meta_subject(name, ADAPTER_FILES_BUCKET) for each in digests for name in _object_names(each)]
        chunks = [object_chunk_subject(each, ">", ADAPTER_FILES_BUCKET) for each in digests]
        await api.purge(self._connection, [(subjects.ADAPTER_FILES, subject) for subject in (*metas, *chunks)])


class MemoryAdapters(MemoryBucket[RegisteredAdapter]):
    """Implements `fleet.ports.AdapterStore` in this process, with room for so many bytes of files."""

    kind = ADAPTER

    def __init__(self, room: int = 1024**3) -> None:
        super().__init__()
        self._room = room
        self._files: dict[str, bytes] = {}

    async def change(self, change: Callable[[Adapters], RegisteredAdapter]) -> RegisteredAdapter:
        before = await self.read_all()
        changed = await super().change(change)
        self._drop(_unnamed(before, await self.read_all()))
        return changed

    async def remove(self, name: str, check: Callable[[Adapters], None] = lambda there: None) -> None:
        before = await self.read_all()
        await super().remove(name, check)
        self._drop(_unnamed(before, await self.read_all()))

    async def watch(self, on_change: Callable[[Adapters], None]) -> None:
        await super().watch(lambda known: None if known is None else on_change(known))

    async def put_files(self, digest: str, files: Mapping[str, bytes]) -> None:
        objects = _objects(digest, files)
        if await self.files(digest) is None:
            _check_room(objects, self._room - sum(map(len, self._files.values())), self._room)
            self.write((each for receipt, content in objects for each in object_messages(receipt, content)))

    def write(self, messages: Iterator[Message]) -> None:
        """Store parts of files as they are."""
        self._files.update((each.subject, each.data) for each in messages)

    async def files(self, digest: str) -> Mapping[str, bytes] | None:
        return _whole(digest, [self._content(name) for name in _object_names(digest)])

    def _content(self, name: str) -> bytes | None:
        meta = self._files.get(object_meta_subject(name, ADAPTER_FILES_BUCKET), b"")
        receipt = receipt_in_meta(meta, ADAPTER_FILES_BUCKET, name)
        chunks = [] if receipt is None else [self._files.get(subject) for subject in chunk_subjects(receipt)]
        there = [chunk for chunk in chunks if chunk is not None]
        return None if receipt is None or len(there) < len(chunks) else b"".join(there)

    def _drop(self, digests: Collection[str]) -> None:
        prefixes = tuple(object_chunk_subject(each, "", ADAPTER_FILES_BUCKET) for each in digests)
        metas = {object_meta_subject(name, ADAPTER_FILES_BUCKET) for each in digests for name in _object_names(each)}
        for subject in [each for each in self._files if each in metas or each.startswith(prefixes)]:
            del self._files[subject]


def _object_names(digest: str) -> list[str]:
    return [f"{digest}.{name}" for name in ADAPTER_FILES]


def _objects(digest: str, files: Mapping[str, bytes]) -> Sequence[tuple[Receipt, bytes]]:
    """Return the files as objects. Raises: ConfigError if they are not what the digest says."""
    if set(files) != set(ADAPTER_FILES):
        raise ConfigError("files", f"must be {' and '.join(ADAPTER_FILES)}, not {', '.join(sorted(files)) or 'none'}")
    if adapter_digest(files) != digest:
        raise ConfigError("digest", "must be the SHA-256 over the files' configuration and tensors")
    contents = [files[name] for name in ADAPTER_FILES]
    names = _object_names(digest)
    return [(receipt_of(ADAPTER_FILES_BUCKET, *each), each[1]) for each in zip(names, contents, strict=True)]


def _check_room(objects: Sequence[tuple[Receipt, bytes]], left: int, room: int) -> None:
    needed = sum(each.bytes + (each.chunks + 1) * OVERHEAD_BYTES for each, _ in objects)
    if needed > left:
        size = sum(each.bytes for each, _ in objects)
        rule = f"are {size:,} bytes, larger than the store: {max(0, left):,} of {room:,} bytes are left"
        raise ConfigError("files", f"{rule}; remove adapters, or give {subjects.ADAPTER_FILES} more room")


def _whole(digest: str, contents: Sequence[bytes | None]) -> Mapping[str, bytes] | None:
    """Return a version's files by name, or None if one is not there. Raises: PartMissing if they are other bytes."""
    there = [content for content in contents if content is not None]
    if len(there) < len(ADAPTER_FILES):
        return None
    files = dict(zip(ADAPTER_FILES, there, strict=True))
    if adapter_digest(files) != digest:
        raise PartMissing(f"the files of adapter {digest[:12]} are not those that were stored")
    return files


def _unnamed(before: Adapters, after: Adapters) -> Collection[str]:
    """Return the digests of versions that no adapter has any more."""
    named = {version.digest for each in after.values() for version in each.versions}
    return {version.digest for each in before.values() for version in each.versions} - named
