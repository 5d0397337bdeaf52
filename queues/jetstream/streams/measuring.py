"""Measures a server's room for streams by making some, while nobody else measures the room or shares it out."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.codes import NO_ROOM, Code

PROBE = "FLEET_ROOM"
"""Prefix of the streams that measure the room, before their owner and a number: the server may still be removing the
one before, or another owner's."""

LOCK = "FLEET_ROOM_LOCK"
"""The stream of the process that measures and makes streams. Only one can make it; its description says which."""

STALLED_SECONDS = 5.0
"""Seconds without a change of any stream after which the holder of the lock must have crashed."""

LOOK_AGAIN_SECONDS = 0.05

_PROBES = re.compile(f"{PROBE}(_[0-9a-f]{{12}})?(_[0-9]+)?")
_LARGEST_POWER, _SMALLEST_POWER, _FRACTIONS = 50, 16, 16

_TRIES, _PAUSE_SECONDS = 20, 0.05
"""Tries to make a stream, and the pause between them: with the last stream of an account a server removes the folder
for streams, a moment later, so that a new stream may find none until the next try.
"""


@asynccontextmanager
async def alone(js: Any) -> AsyncIterator[None]:
    """Keep out everybody else who measures: two would take each other's probes and new streams for lost room.

    A login that may make no stream, or finds no room for an empty one, has nothing to measure and needs no lock.
    """
    own = uuid.uuid4().hex
    try:
        await _lock(js, own)
    except PermissionRefused:
        held = False
    except APIError as error:
        if error.err_code not in NO_ROOM:
            raise
        held = False
    else:
        held = True
    try:
        yield
    finally:
        if held:
            with suppress(PermissionRefused):  # who may make streams and remove none leaves it; the next one waits
                await _unlock(js, own)


async def _lock(js: Any, own: str) -> None:
    """Wait until the lock is ours. A crashed process's lock, under which no stream changes for long, is removed."""
    # Some accounts take no stream without a bound.
    lock = StreamConfig(name=LOCK, subjects=[LOCK], max_bytes=1, description=own)
    seen, since = None, 0.0
    while True:
        try:
            return await make(js, lock)
        except APIError as error:
            if error.err_code != Code.STREAM_EXISTS:
                raise
        streams = {(info.config.name, info.config.description) for info in await all_streams(js)}
        if streams != seen:
            seen, since = streams, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            await _remove(js, LOCK)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _unlock(js: Any, own: str) -> None:
    """Remove the lock, unless its holder stalled for so long that it is another process's by now."""
    with suppress(NotFoundError):
        if (await js.stream_info(LOCK)).config.description == own:
            await js.delete_stream(LOCK)


async def all_streams(js: Any) -> list[StreamInfo]:
    """Return every stream of the account: the server lists some hundreds at a time, in the order of their names."""
    found: list[StreamInfo] = []
    while page := await js.streams_info(offset=len(found)):
        found += page
    return found


async def _remove(js: Any, name: str) -> None:
    with suppress(NotFoundError):
        await js.delete_stream(name)


async def unreserved(js: Any, copies: int) -> int:
    """Find by trying how many bytes the server can still reserve: it tells nobody but its own system login."""
    await _forget_probes(js)
    own, numbers = uuid.uuid4().hex[:12], itertools.count()

    async def takes(size: int) -> bool:
        return await _takes(js, f"{PROBE}_{own}_{next(numbers)}", size, copies)

    for power in range(_LARGEST_POWER, _SMALLEST_POWER - 1, -2):
        if await takes(1 << power):
            low, high = 1 << power, 4 << power
            while high - low > low // _FRACTIONS:
                middle = (low + high) // 2
                low, high = (middle, high) if await takes(middle) else (low, middle)
            return low
    return 0


async def _takes(js: Any, probe: str, size: int, copies: int) -> bool:
    try:
        await make(js, StreamConfig(name=probe, subjects=[probe], max_bytes=size, num_replicas=copies))
    except APIError as error:
        is_any_too_large = error.err_code == Code.NO_SERVERS and size <= 1 << _SMALLEST_POWER
        if error.err_code not in NO_ROOM or is_any_too_large:
            raise
        return False
    await _remove(js, probe)
    return True


async def make(js: Any, config: StreamConfig) -> None:
    """Create the stream, even while the server is still removing another.

    Raises: APIError; NatsError.
    """
    for _ in range(_TRIES):
        try:
            await js.add_stream(config)
        except APIError as error:
            if error.err_code != Code.STREAM_NOT_STORED:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
    await js.add_stream(config)


async def _forget_probes(js: Any) -> None:
    """Remove the probes left by a process that ended while it was measuring."""
    for info in await all_streams(js):
        if _PROBES.fullmatch(info.config.name) and info.config.subjects == [info.config.name]:
            await _remove(js, info.config.name)
