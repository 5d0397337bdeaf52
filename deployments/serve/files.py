"""Keeps the files of adapters where every replica of the cluster can fetch them: in Ray's object store."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import ray

from fleet.logs import get_logger
from fleet.model.adapter import ADAPTER_FILES, ReadFiles

KEPT: Final = 16
"""Adapters whose files stay in the object store for this process; one of rank 16 for an 8B has 80 MB."""

READ_SECONDS: Final = 5.0
"""Time that calls wait for files at most."""

References = Mapping[str, Sequence[Any]]
"""A reference of Ray's by digest, in a list: Ray would fetch what it finds by itself for every call."""

log = get_logger(__name__)


class AdapterFiles:
    """The references to the files of adapters, of those used last. Each is read once, however many calls ask for it."""

    def __init__(self, read: ReadFiles, put: Callable[[Mapping[str, bytes]], Any] = ray.put) -> None:
        self._read = read
        self._put = put
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def of(self, digests: Collection[str]) -> References:
        """Return the references of these; one whose files cannot be had now is left out, which its replica will say."""
        missing = [self._read_once(digest) for digest in digests if digest not in self._kept]
        if missing:
            await asyncio.wait(missing, timeout=READ_SECONDS)
        found = {digest: [self._kept[digest]] for digest in digests if digest in self._kept}
        for digest in found:
            self._kept.move_to_end(digest)
        return found

    def missing(self, digests: Collection[str | None]) -> frozenset[str]:
        """Return those of the digests whose files are still to be read."""
        return frozenset(digest for digest in digests if digest is not None and digest not in self._kept)

    def forget(self, digest: str) -> None:
        """Read these files again at their next use: a reference is of no use where the node that held them is gone."""
        self._kept.pop(digest, None)

    def _read_once(self, digest: str) -> asyncio.Task[None]:
        task = self._reading.get(digest)
        if task is None:
            task = self._reading[digest] = asyncio.create_task(self._keep(digest))
            task.add_done_callback(lambda _: self._reading.pop(digest))
        return task

    async def _keep(self, digest: str) -> None:
        try:
            files = await self._read(digest)
            if files is None:
                return
            needed = {name: files[name] for name in ADAPTER_FILES if name in files}
            self._kept[digest] = await asyncio.to_thread(self._put, needed)
        except Exception as error:
            log.warning("adapter_files_not_read", digest=digest, error=type(error).__name__)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
