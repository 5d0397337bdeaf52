"""The adapters: a NATS key-value bucket that all dispatchers follow, an object store for files, and twins of both."""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from fleet.logs import get_logger
from fleet.model.adapter import ADAPTER_DIGEST, ADAPTER_FILES, ADAPTER_SOURCES, RegisteredAdapter, adapter_digest
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, PartMissing, QueueRefused
from queues.jetstream import api
from queues.jetstream.queue import store
from queues.jetstream.stores.bucket import JetStreamBucket, Kind, MemoryBucket
from queues.jetstream.stores.large import content_of
from queues.wire.adapter import decode_adapter, encode_adapter
from queues.wire.letters import Message
from queues.wire.objects import chunk_subjects, object_messages, receipt_in_meta, receipt_of
from queues.wire.result import Receipt
from queues.wire.subjects import (
    ADAPTER_OBJECTS,
    ADAPTER_OBJECTS_BUCKET,
    ADAPTERS,
    adapter_subject,
    object_chunk_subject,
    object_meta_subject,
)

CHUNKS_AT_ONCE = 32
"""Messages stored at once: 4 MB, so that others' requests come in between."""

OVERHEAD_BYTES = 512
"""Bytes at most that a message takes beside its content: its subject, 160 bytes long, and the server's own."""

DIGESTS = re.compile(ADAPTER_DIGEST.pattern.encode())

Adapters = Mapping[str, RegisteredAdapter]

log = get_logger(__name__)


def _left_out(subject: str, problem: str) -> None:
    log.warning("adapter_left_out", subject=subject, problem=problem)


ADAPTER = Kind("adapter", ADAPTERS, adapter_subject, encode_adapter, decode_adapter, _left_out)


class _Files(ABC):
    """Keeps the files of versions as objects named `<digest>.<file>`."""

    async def put_files(self, digest: str, files: Mapping[str, bytes]) -> None:
        objects = _objects(digest, files)
        there = await self._receipts(digest)
        missing = [(receipt, content) for receipt, content in objects if receipt.name not in there]
        if missing:
            _check_room(missing, *await self._room())
            await self._write(each for receipt, content in missing for each in object_messages(receipt, content))

    async def files(self, digest: str) -> Mapping[str, bytes] | None:
        contents = {name: await self._content(each) for name, each in (await self._receipts(digest)).items()}
        files = {name.removeprefix(f"{digest}."): each for name, each in contents.items() if each is not None}
        if len(files) < len(contents) or not set(ADAPTER_FILES) <= set(files):
            return None
        if adapter_digest(files) != digest:
            raise PartMissing(f"the files of adapter {digest[:12]} are not those that were stored")
        return files

    async def sources(self, digest: str) -> bytes | None:
        receipt = (await self._receipts(digest)).get(f"{digest}.{ADAPTER_SOURCES}")
        return None if receipt is None else await self._content(receipt)

    async def _receipts(self, digest: str) -> Mapping[str, Receipt]:
        """Return the receipts of a version's objects by name, of those that are there."""
        if ADAPTER_DIGEST.fullmatch(digest) is None:
            return {}
        names = _object_names(digest)
        metas = await self._metas([object_meta_subject(name, ADAPTER_OBJECTS_BUCKET) for name in names])
        found = {
            name: receipt_in_meta(meta, ADAPTER_OBJECTS_BUCKET, name) for name, meta in zip(names, metas, strict=True)
        }
        return {name: receipt for name, receipt in found.items() if receipt is not None}

    @abstractmethod
    async def _metas(self, asked: Sequence[str]) -> Sequence[bytes]:
        """Return what is stored under each subject, nothing where nothing is."""

    @abstractmethod
    async def _content(self, receipt: Receipt) -> bytes | None:
        """Return the content of an object, or None if a part of it is gone."""

    @abstractmethod
    async def _write(self, messages: Iterator[Message]) -> None: ...

    @abstractmethod
    async def _room(self) -> tuple[int, int]:
        """Return the bytes that are left, and all there are."""


class JetStreamAdapters(_Files, JetStreamBucket[RegisteredAdapter]):
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

    async def sweep(self) -> Collection[str]:
        pattern, kept, offset = object_chunk_subject("*", ">", ADAPTER_OBJECTS_BUCKET), set[str](), 0
        while (info := await api.stream_info(self._connection, ADAPTER_OBJECTS, pattern, offset)).subjects:
            kept |= {_digest_in(subject) for subject in info.subjects}
            offset += len(info.subjects)
        records = await self._stored()
        if len(records) < (await api.stream_info(self._connection, ADAPTERS)).messages:
            return set()  # a slow broker told some of them only
        left = kept - _mentioned(records)
        await self._drop(left)
        return left

    async def _metas(self, asked: Sequence[str]) -> Sequence[bytes]:
        # The leader of the stream says it: another server may lag.
        found = await api.last_by_subject(self._connection, ADAPTER_OBJECTS, asked)
        return [b"" if each is None else each.data for each in found]

    async def _content(self, receipt: Receipt) -> bytes | None:
        return await content_of(self._connection, ADAPTER_OBJECTS, receipt)

    async def _write(self, messages: Iterator[Message]) -> None:
        while portion := list(islice(messages, CHUNKS_AT_ONCE)):
            if Stored.REFUSED in await store(self._connection, portion):
                raise QueueRefused(f"{ADAPTER_OBJECTS}: the broker takes no message as large as a part of a file")

    async def _room(self) -> tuple[int, int]:
        info = await api.stream_info(self._connection, ADAPTER_OBJECTS)
        return (info.max_bytes - info.bytes, info.max_bytes) if info.max_bytes else (sys.maxsize, sys.maxsize)

    async def _drop(self, digests: Collection[str]) -> None:
        """Remove the files of these versions, first what says that they are there."""
        metas = [object_meta_subject(name, ADAPTER_OBJECTS_BUCKET) for each in digests for name in _object_names(each)]
        chunks = [object_chunk_subject(each, ">", ADAPTER_OBJECTS_BUCKET) for each in digests]
        await api.purge(self._connection, [(ADAPTER_OBJECTS, subject) for subject in (*metas, *chunks)])


class MemoryAdapters(_Files, MemoryBucket[RegisteredAdapter]):
    """Implements `fleet.ports.AdapterStore` in this process, with room for so many bytes of files."""

    kind = ADAPTER

    def __init__(self, room: int = 1024**3) -> None:
        super().__init__()
        self._bytes = room
        self._parts: dict[str, bytes] = {}

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

    async def sweep(self) -> Collection[str]:
        chunks = object_chunk_subject("", "", ADAPTER_OBJECTS_BUCKET).rstrip(".")
        left = {_digest_in(each) for each in self._parts if each.startswith(chunks)} - _mentioned(await self._stored())
        self._drop(left)
        return left

    async def _metas(self, asked: Sequence[str]) -> Sequence[bytes]:
        return [self._parts.get(subject, b"") for subject in asked]

    async def _content(self, receipt: Receipt) -> bytes | None:
        chunks = [self._parts.get(subject) for subject in chunk_subjects(receipt)]
        there = [chunk for chunk in chunks if chunk is not None]
        return b"".join(there) if len(there) == len(chunks) else None

    async def _write(self, messages: Iterator[Message]) -> None:
        self._parts.update((each.subject, each.data) for each in messages)

    async def _room(self) -> tuple[int, int]:
        return self._bytes - sum(map(len, self._parts.values())), self._bytes

    def _drop(self, digests: Collection[str]) -> None:
        prefixes = tuple(object_chunk_subject(each, "", ADAPTER_OBJECTS_BUCKET) for each in digests)
        metas = {object_meta_subject(name, ADAPTER_OBJECTS_BUCKET) for each in digests for name in _object_names(each)}
        for subject in [each for each in self._parts if each in metas or each.startswith(prefixes)]:
            del self._parts[subject]


def _object_names(digest: str) -> list[str]:
    return [f"{digest}.{name}" for name in (*ADAPTER_FILES, ADAPTER_SOURCES)]


def _objects(digest: str, files: Mapping[str, bytes]) -> Sequence[tuple[Receipt, bytes]]:
    """Return the files as objects. Raises: ConfigError if they are not what the digest says."""
    if not set(ADAPTER_FILES) <= set(files) <= {*ADAPTER_FILES, ADAPTER_SOURCES}:
        wanted = f"must be {' and '.join(ADAPTER_FILES)}, and may be {ADAPTER_SOURCES}"
        raise ConfigError("files", f"{wanted}, not {', '.join(sorted(files)) or 'none'}")
    if adapter_digest(files) != digest:
        raise ConfigError("digest", "must be the SHA-256 over the files' configuration and tensors")
    return [
        (receipt_of(ADAPTER_OBJECTS_BUCKET, f"{digest}.{name}", content), content)
        for name, content in sorted(files.items())
    ]


def _check_room(objects: Sequence[tuple[Receipt, bytes]], left: int, room: int) -> None:
    needed = sum(each.bytes + (each.chunks + 1) * OVERHEAD_BYTES for each, _ in objects)
    if needed > left:
        size = sum(each.bytes for each, _ in objects)
        rule = f"are {size:,} bytes, larger than the store: {max(0, left):,} of {room:,} bytes are left"
        raise ConfigError("files", f"{rule}; remove adapters, or give {ADAPTER_OBJECTS} more room")


def _unnamed(before: Adapters, after: Adapters) -> Collection[str]:
    """Return the digests of versions that no adapter has any more."""
    return _named(before) - _named(after)


def _named(adapters: Adapters) -> set[str]:
    return {version.digest for each in adapters.values() for version in each.versions}


def _mentioned(records: Iterable[tuple[str, bytes]]) -> set[str]:
    """Return the digests in the records, those also that cannot be read: a later version may have written them."""
    return {digest.decode() for _, data in records for digest in DIGESTS.findall(data)}


def _digest_in(subject: str) -> str:
    """Return the digest of the version that a part of a file is of."""
    return subject.split(".")[3]
