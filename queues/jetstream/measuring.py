"""How much room a server has for streams, measured by making some; nobody else measures or shares it out meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError

from queues.jetstream.client.client import PermissionRefused

PROBE = "FLEET_ROOM"
"""What the streams that measure the room are called, with whose they are and a number: the server may still be removing
the one before, and so may that of somebody else."""

LOCK = "FLEET_ROOM_LOCK"
"""The stream of whoever measures and makes streams. Only one can make it; its description says who."""

STALLED_SECONDS = 5.0
"""Who has the lock and changes no stream for so long has crashed."""

LOOK_AGAIN_SECONDS = 0.05

MOST_STREAMS = 10027
"""The server's code where the account allows no further stream."""

IN_USE = 10058
"""The server's code where there is a stream of this name with other settings."""

_PROBES = re.compile(f"{PROBE}(_[0-9a-f]{{12}})?(_[0-9]+)?")
_LARGEST_POWER, _SMALLEST_POWER, _FRACTIONS = 50, 16, 16

NO_SERVERS = 10005
NO_ROOM = (10002, NO_SERVERS, 10023, 10028, 10047)
"""The server's codes where it, the account or the cluster has not so much to reserve. A cluster that is forming has no
servers for any stream, which it says by the same code as that none has the room."""

NOT_STORED = 10049
_TRIES, _PAUSE_SECONDS = 20, 0.05
"""With the last stream of an account a server removes the folder for streams, a moment later: a new one may find itself
without. It is there again with the next try."""


@asynccontextmanager
async def alone(js: Any) -> AsyncIterator[None]:
    """Keep out everybody else who measures: two would take each other's probes, and new streams, for what is gone.

    Who may make no stream, or finds no room for an empty one, has nothing to measure and needs no lock.
    """
    try:
        await _lock(js)
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
            await _remove(js, LOCK)


async def _lock(js: Any) -> None:
    """Wait until it is ours. That of a crashed process is removed: one under which no stream has changed for long."""
    # Some accounts take no stream without a bound.
    lock = StreamConfig(name=LOCK, subjects=[LOCK], max_bytes=1, description=uuid.uuid4().hex)
    seen, since = None, 0.0
    while True:
        try:
            return await make(js, lock)
        except APIError as error:
            if error.err_code != IN_USE:
                raise
        streams = {(info.config.name, info.config.description) for info in await js.streams_info()}
        if streams != seen:
            seen, since = streams, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            await _remove(js, LOCK)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _remove(js: Any, name: str) -> None:
    with suppress(NotFoundError):
        await js.delete_stream(name)


async def unreserved(js: Any, copies: int) -> int:
    """What the server has to reserve, in bytes, found by trying: no login but the server's own is told."""
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
        is_any_too_large = error.err_code == NO_SERVERS and size <= 1 << _SMALLEST_POWER
        if error.err_code not in NO_ROOM or is_any_too_large:
            raise
        return False
    await _remove(js, probe)
    return True


async def make(js: Any, config: StreamConfig) -> None:
    """Create the stream, whatever the server is still removing. Raises: APIError, NatsError."""
    for _ in range(_TRIES):
        try:
            await js.add_stream(config)
        except APIError as error:
            if error.err_code != NOT_STORED:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
    await js.add_stream(config)


async def _forget_probes(js: Any) -> None:
    """Remove those that somebody who was measuring has left when it ended."""
    for info in await js.streams_info():
        if _PROBES.fullmatch(info.config.name) and info.config.subjects == [info.config.name]:
            await _remove(js, info.config.name)
