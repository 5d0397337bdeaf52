"""Bounds each stream to its share of what the server can store, so that none takes the room the others need.

A stream with `max_bytes` reserves them. Waiting jobs are bounded like everything else: if their stream is full it
refuses new ones, while what was accepted still has room to be worked on and answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nats.js.api import StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from fleet.logs import get_logger
from fleet.model.errors import ConfigError
from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.codes import Code
from queues.jetstream.streams import measuring
from queues.wire.subjects import (
    ADAPTER_OBJECTS,
    ADAPTERS,
    BATCHES,
    CACHE,
    CALIBRATIONS,
    CANCELS,
    CONTENT,
    DEAD,
    EVENTS,
    EXPERIMENTS,
    FEEDBACK,
    FILES,
    JOBS,
    KEYS,
    LARGE_RESULTS,
    LEDGER,
    LOAD,
    PROVIDER_BATCHES,
    RESPONSES,
    RESULTS,
    SPEND,
    STARTS,
    TURNS,
    WEBHOOKS,
    WORK,
)

log = get_logger(__name__)

MB = 1_000_000

PERCENT: Mapping[str, int] = {
    RESULTS: 17,
    FILES: 10,
    JOBS: 14,
    WORK: 14,
    LEDGER: 8,
    ADAPTER_OBJECTS: 6,
    LARGE_RESULTS: 4,
    CACHE: 2,
    STARTS: 4,
    DEAD: 3,
    FEEDBACK: 3,
    CALIBRATIONS: 1,
    EXPERIMENTS: 1,
    ADAPTERS: 1,
    TURNS: 1,
    PROVIDER_BATCHES: 1,
    CANCELS: 2,
    CONTENT: 1,
    BATCHES: 1,
    EVENTS: 1,
    WEBHOOKS: 1,
    SPEND: 1,
    LOAD: 1,
    KEYS: 1,
    RESPONSES: 1,
}
"""Each stream's percentage of the room shared out. Results have most: a publisher reads them when it can."""

SHARED_PERCENT = 90
"""Percentage of the server's room to share out; the rest is for overhead beside messages, and for others' streams."""

FLOORS: Mapping[str, int] = {
    CALIBRATIONS: 128 * 1024,
    CANCELS: 128 * 1024,
    SPEND: 64 * 1024,
    LOAD: 64 * 1024,
    KEYS: 64 * 1024,
    BATCHES: 128 * 1024,
    RESPONSES: 64 * 1024,
    CACHE: 128 * 1024,
    EXPERIMENTS: 128 * 1024,
    ADAPTERS: 128 * 1024,
    TURNS: 128 * 1024,
    PROVIDER_BATCHES: 128 * 1024,
    WEBHOOKS: 64 * 1024,
}
"""Minimum bytes for a few values, however small the server is."""

LARGEST_CANCEL = 512
"""Bytes of a cancellation, which says all in its subject: large ones of one tenant would push out those of others."""

LEAST_ROOM = 2 * MB
"""Minimum room; with less, the fleet's own records would leave none for jobs."""

SMALL_ROOM = 128 * MB
"""Room below which the largest jobs and answers may be refused."""

LARGE_SHARE = 16 * 1024 * 1024
"""Several messages of the largest size. In a smaller stream one message may take half of it: a larger one would be
confirmed and gone at once, with all that was there before it.
"""

MARK = "fleet-max-bytes"
"""Metadata key of the bound as made here. A bound that differs from it is an operator's, and stays."""

TOLERATED = 0.1
"""Bounds that differ by less than this share are left alone: what the server has left is measured roughly."""

Existing = Mapping[str, StreamInfo | None]


async def found(js: Any, names: Iterable[str]) -> Existing:
    """Return the streams of these names; None for one that does not exist."""
    return {name: await _info(js, name) for name in names}


async def _info(js: Any, name: str) -> StreamInfo | None:
    try:
        info: StreamInfo = await js.stream_info(name)
    except NotFoundError:
        return None
    return info


def are_due(existing: Existing, anew: bool) -> bool:
    """Return whether the room has to be shared out: a stream is new or unbounded, or `anew` asks for it."""
    if any(info is not None and info.config.storage == StorageType.MEMORY for info in existing.values()):
        return False  # someone has decided otherwise about the room of the fleet
    return anew or not all(info is not None and (info.config.max_bytes or 0) > 0 for info in existing.values())


async def bounds(js: Any, existing: Existing, replicas: int | None, anew: bool) -> Mapping[str, int]:
    """Return the bytes each of the streams may hold, by name; a stream that keeps its bound is left out.

    The server is measured if that is due (see `are_due`), by nobody else meanwhile (see `measuring.alone`).

    Raises: ConfigError if it is too small.
    """
    if not are_due(existing, anew):
        return {}
    ours = {name: info for name, info in existing.items() if info is None or not _is_operators(info.config)}
    try:
        room = await _room(js, ours, replicas or _copies(existing))
    except PermissionRefused:
        return {}  # this login may not measure; an operator's may
    if room == 0 and any(ours.values()):
        log.warning("store_room_missing", advice="raise max_file_store, then apply the topology again")
        return {}
    sizes = shared(room, {name: 0 if info is None else info.state.bytes for name, info in ours.items()})
    if room < SMALL_ROOM:
        log.warning(
            "store_room_small",
            room_megabytes=round(room / MB, 1),
            refused_beyond_megabytes=round(sizes.get(JOBS, room) / 2 / MB, 1),
            advice="raise max_file_store (fleet nats-config --max-file-gb)",
        )
    return {name: size for name, size in sizes.items() if not _is_close(size, ours[name])}


def shared(room: int, held: Mapping[str, int]) -> dict[str, int]:
    """Return each stream's bytes of the `room`, never fewer than it has `held` before.

    Raises: ConfigError if the room is too small.
    """
    if room < LEAST_ROOM:
        said = f"leaves {room / MB:.1f} MB for the fleet's streams, which need {LEAST_ROOM // MB} MB at least"
        way_out = "raise it (fleet nats-config --max-file-gb), or remove other streams"
        raise ConfigError("max_file_store", f"{said}: {way_out}")
    least = {name: max(size, FLOORS.get(name, 0)) for name, size in held.items()}
    free, rest, fixed = room * SHARED_PERCENT // 100, set(least), dict[str, int]()
    while rest:
        if free <= 0:
            raise ConfigError(
                "max_file_store", "is filled by what streams hold: raise it, or purge records like LEDGER"
            )
        whole = sum(PERCENT[name] for name in rest)
        shares = {name: free * PERCENT[name] // whole for name in rest}
        beyond = {name for name in rest if least[name] > shares[name]}
        if not beyond:
            return fixed | shares
        fixed |= {name: least[name] for name in beyond}
        free -= sum(least[name] for name in beyond)
        rest -= beyond
    return fixed


def settings(config: StreamConfig, size: int | None) -> dict[str, Any]:
    """Return the settings that bound this stream to the size; empty if it keeps its bound."""
    if size is None:
        return {}
    keeps_whole = config.name in (LARGE_RESULTS, ADAPTER_OBJECTS, FILES, *FLOORS) or size >= LARGE_SHARE
    largest = -1 if keeps_whole else size // 2
    return {
        "max_bytes": size,
        "max_msg_size": LARGEST_CANCEL if config.name == CANCELS else largest,
        "metadata": {**(config.metadata or {}), MARK: str(size)},
    }


async def release(js: Any, existing: Existing, changing: Mapping[str, int]) -> None:
    """Give back what these streams reserve, so that none has to wait for the room of another."""
    for name in changing:
        info = existing[name]
        if info is not None and (info.config.max_bytes or 0) > 0:
            await js.update_stream(info.config.evolve(max_bytes=-1))


def _copies(existing: Existing) -> int:
    return max((info.config.num_replicas or 1 for info in existing.values() if info), default=1)


async def _room(js: Any, ours: Existing, copies: int) -> int:
    """Return the room for these streams: what they reserve now, and what nobody has reserved or filled.

    Return 0 if nothing is left beside what they reserve: a server with less than that lets no stream be changed.
    """
    reserved = sum(max(0, info.config.max_bytes or 0) for info in ours.values() if info)
    try:
        left = await measuring.unreserved(js, copies)
    except APIError as error:
        if error.err_code != Code.NO_SERVERS or not reserved:
            raise
        left = 0
    if left == 0 and reserved:
        return 0
    unbounded = [info.state.bytes for info in await measuring.all_streams(js) if not (info.config.max_bytes or 0) > 0]
    held = sum(info.state.bytes for info in ours.values() if info and not (info.config.max_bytes or 0) > 0)
    room: int = reserved + left - max(0, sum(unbounded) - held)
    return room


def _is_operators(config: StreamConfig) -> bool:
    bound = config.max_bytes or 0
    return bound > 0 and (config.metadata or {}).get(MARK) != str(bound)


def _is_close(size: int, info: StreamInfo | None) -> bool:
    before = 0 if info is None else info.config.max_bytes or 0
    return abs(size - before) <= TOLERATED * before
