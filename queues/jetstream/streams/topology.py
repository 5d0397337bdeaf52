"""The fleet's streams, and how long each keeps what."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any, Literal

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import (
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, ServiceUnavailableError

from fleet.model.delivery import JobsOf
from fleet.model.errors import ConfigError, FleetError, QueueRefused, QueueUnavailable
from fleet.model.job import FAIR_LANES, Lane
from queues.jetstream.causes import NO_JETSTREAM, WAY_OUT, refused
from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.codes import Code
from queues.jetstream.consuming.consumers import drop_consumer
from queues.jetstream.streams import measuring, shares
from queues.wire.subjects import (
    BATCHES,
    CALIBRATIONS,
    CANCELS,
    CONTENT,
    DEAD,
    EVENTS,
    FEEDBACK,
    FILES,
    JOBS,
    KEYS,
    LARGE_RESULTS,
    LEDGER,
    LOAD,
    RESPONSES,
    RESULTS,
    SPEND,
    STARTS,
    SUBJECTS,
    WEBHOOKS,
    WORK,
    arrival_subject,
    job_subject,
)

HOUR = 3600.0
DAY = 24 * HOUR

CALIBRATION_HISTORY = 32
"""Revisions kept of each calibration."""

START_MAX_AGE_SECONDS = 2 * DAY
"""Seconds for which a started paid call is remembered: longer than a job of any lane lives by default."""

CONTENT_MAX_AGE_SECONDS = 3 * DAY
"""Seconds that a content waits for the content store at most: a weekend."""

FILE_MAX_AGE_SECONDS = 30 * DAY
"""Seconds that files and batches are kept."""

EVENT_MAX_AGE_SECONDS = 4 * DAY
"""Seconds that an event waits for the process that delivers it; each attempt stores a delivery anew."""

MOST_EVENTS = 10_000
"""Maximum events of one tenant that wait to be handed to its endpoints. It is told of more than that."""

CANCEL_MAX_AGE_SECONDS = DAY
MOST_CANCELS = 1_000_000
"""Maximum cancellations kept. The oldest go first; every dispatcher running then has acted on them."""

SPEND_MAX_AGE_SECONDS = 8 * DAY
"""Seconds that the account of a day is kept: a week to look back on."""

LOAD_MAX_AGE_SECONDS = 60.0
"""Seconds until the last report of a dispatcher goes: long after the dispatcher has fallen silent."""

RESPONSE_MAX_AGE_SECONDS = 2 * DAY
"""Seconds that the record of a response is kept: as long as its result, which may come a day later."""


class TooManyStreams(QueueRefused):
    """Raised if the account allows no further stream."""


@dataclass(frozen=True, slots=True)
class TopologySpec:
    """The settings of the streams. Three replicas need a cluster of three servers.

    None asks for the shipped default if a stream is created, and leaves an existing one as its operator set it.
    """

    replicas: int | None = None
    storage: Literal["file", "memory"] | None = None
    duplicate_window_seconds: float | None = None
    result_max_age_seconds: float | None = None
    ledger_max_age_seconds: float | None = None
    dead_max_age_seconds: float | None = None
    feedback_max_age_seconds: float | None = None
    shares_anew: bool = False
    """True to share out the server's room again, though every stream has its bound."""


SHIPPED = TopologySpec(
    replicas=1,
    storage="file",
    duplicate_window_seconds=120.0,
    result_max_age_seconds=DAY,
    ledger_max_age_seconds=30 * DAY,
    dead_max_age_seconds=14 * DAY,
    feedback_max_age_seconds=30 * DAY,
)
"""The default of every setting."""


class ChangeKind(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Change:
    stream: str
    kind: ChangeKind


async def apply(js: Any, spec: TopologySpec) -> Sequence[Change]:
    """Make the streams as `spec` says; repeating it changes nothing.

    Lanes have a consumer per tenant, made when it has something to take; the lane-wide ones of an older fleet would
    overlap with them and are removed.

    `js` is a nats-py JetStream context. Settings that are not in the spec (placement, limits, further
    subjects, whatever is None in it) stay as they are.

    Raises: ConfigError if a stream refuses the change or the server is too small; QueueUnavailable.
    """
    try:
        existing = await _found(js)
        if spec.storage == "memory" or not shares.are_due(existing, spec.shares_anew):
            return await _apply(js, spec, existing)
        return await _apply_alone(js, spec)
    except NatsError as error:
        raise _why(error) from error


async def _apply_alone(js: Any, spec: TopologySpec) -> Sequence[Change]:
    """Apply the spec while nobody else does; without a lock if the account allows no stream beside the fleet's."""
    try:
        async with measuring.alone(js):
            return await _apply(js, spec, await _found(js))
    except (TooManyStreams, APIError) as error:
        if isinstance(error, APIError) and error.err_code != Code.TOO_MANY_STREAMS:
            raise
    return await _apply(js, spec, await _found(js))


async def _found(js: Any) -> shares.Existing:
    return await shares.found(js, [str(config.name) for config in _streams(SHIPPED)])


async def _apply(js: Any, spec: TopologySpec, existing: shares.Existing) -> Sequence[Change]:
    pairs = zip(_streams(spec), _streams(SHIPPED), strict=True)
    bounds = {} if spec.storage == "memory" else await shares.bounds(js, existing, spec.replicas, spec.shares_anew)
    await shares.release(js, existing, bounds)
    changes = [await _apply_stream(js, *pair, existing[str(pair[0].name)], bounds) for pair in pairs]
    for lane in FAIR_LANES:
        await drop_consumer(js, JobsOf(lane))
    return changes


async def stream_sizes(js: Any) -> Mapping[str, int]:
    """Return messages per stream of the fleet, by stream name; a stream that does not exist yet is left out.

    Raises: QueueUnavailable if the broker does not answer.
    """
    names = {config.name for config in _streams(SHIPPED)}
    try:
        infos = await measuring.all_streams(js)
    except NatsError as error:
        raise _why(error) from error
    return {info.config.name: info.state.messages for info in infos if info.config.name in names}


def _streams(spec: TopologySpec) -> Sequence[StreamConfig]:
    queue: dict[str, Any] = {"retention": RetentionPolicy.WORK_QUEUE, "discard": DiscardPolicy.NEW}
    told = RePublish(job_subject(Lane.INTERACTIVE, "*"), arrival_subject("{{wildcard(1)}}"), headers_only=True)
    record: dict[str, Any] = {"retention": RetentionPolicy.LIMITS}
    return [
        _stream(spec, JOBS, republish=told, **queue),
        _stream(spec, WORK, **queue),
        _stream(
            spec,
            RESULTS,
            max_age=spec.result_max_age_seconds,
            allow_direct=True,
            **record,
        ),
        _stream(spec, LEDGER, max_age=spec.ledger_max_age_seconds, **record),
        _stream(spec, DEAD, max_age=spec.dead_max_age_seconds, **record),
        _stream(
            spec,
            FEEDBACK,
            max_age=spec.feedback_max_age_seconds,
            **record,
        ),
        _stream(spec, STARTS, max_age=START_MAX_AGE_SECONDS, **record),
        _stream(
            spec,
            CANCELS,
            max_age=CANCEL_MAX_AGE_SECONDS,
            max_msgs=MOST_CANCELS,
            max_msgs_per_subject=1,
            **record,
        ),
        # Taken once and then gone, and never in the way: without a store to take them the oldest make room.
        _stream(spec, CONTENT, max_age=CONTENT_MAX_AGE_SECONDS, retention=RetentionPolicy.WORK_QUEUE),
        # Full, it refuses: what a batch has written is never pushed out by what another uploads. A chunk of a file that
        # is deleted is replaced by an empty one.
        _stream(
            spec,
            FILES,
            max_age=FILE_MAX_AGE_SECONDS,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            allow_direct=True,
            **record,
        ),
        _stream(
            spec,
            EVENTS,
            max_age=EVENT_MAX_AGE_SECONDS,
            max_msgs_per_subject=MOST_EVENTS,
            discard_new_per_subject=True,
            **queue,
        ),
        *_buckets(spec, record),
    ]


def _buckets(spec: TopologySpec, record: dict[str, Any]) -> list[StreamConfig]:
    """Return what NATS clients know as an object store and key-value buckets."""
    return [
        _stream(
            spec,
            LARGE_RESULTS,
            max_age=spec.result_max_age_seconds,
            discard=DiscardPolicy.NEW,
            allow_direct=True,
            allow_rollup_hdrs=True,
            **record,
        ),
        _stream(spec, CALIBRATIONS, **_KEY_VALUE, **record),
        _stream(
            spec,
            SPEND,
            max_age=SPEND_MAX_AGE_SECONDS,
            **_LATEST_VALUE,
            **record,
        ),
        _stream(spec, LOAD, max_age=LOAD_MAX_AGE_SECONDS, **_LATEST_VALUE, **record),
        _stream(spec, KEYS, **_LATEST_VALUE, **record),
        _stream(spec, BATCHES, max_age=FILE_MAX_AGE_SECONDS, **_LATEST_VALUE, **record),
        _stream(spec, RESPONSES, max_age=RESPONSE_MAX_AGE_SECONDS, **_LATEST_VALUE, **record),
        # An endpoint that is deleted leaves nothing behind.
        _stream(spec, WEBHOOKS, **{**_LATEST_VALUE, "deny_delete": False}, **record),
    ]


_KEY_VALUE: dict[str, Any] = {
    "max_msgs_per_subject": CALIBRATION_HISTORY,
    "discard": DiscardPolicy.NEW,
    "allow_direct": True,
    "allow_rollup_hdrs": True,
    "deny_delete": True,
}
"""Settings that make a stream a key-value bucket for every NATS client."""

_LATEST_VALUE: dict[str, Any] = {**_KEY_VALUE, "max_msgs_per_subject": 1}
"""Settings of a key-value bucket without history."""


def _stream(spec: TopologySpec, name: str, **config: Any) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=list(SUBJECTS[name]),
        storage=None if spec.storage is None else StorageType(spec.storage),
        num_replicas=spec.replicas,
        duplicate_window=spec.duplicate_window_seconds,
        **config,
    )


async def _apply_stream(
    js: Any, wanted: StreamConfig, shipped: StreamConfig, found: StreamInfo | None, bounds: Mapping[str, int]
) -> Change:
    name = str(wanted.name)
    governed = (*_GOVERNED, *_GOVERNED_TOO.get(name, ()))
    wishes = {field: value for field in governed if (value := getattr(wanted, field)) is not None}
    wishes |= shares.settings(shipped if found is None else found.config, bounds.get(name))
    if found is None:
        made = _consistent(shipped.evolve(**wishes, first_seq=_first_sequence()))
        try:
            await _permitted(measuring.make(js, made), name, "is not there, and this login")
        except APIError as error:
            if error.err_code != Code.STREAM_EXISTS:
                raise await _not_made(js, name, wishes["subjects"], error) from error
            found = await js.stream_info(name)  # another process made it first
        else:
            return Change(name, ChangeKind.CREATED)
    existing = found.config
    missing = [subject for subject in wishes["subjects"] if subject not in existing.subjects]
    config = _consistent(existing.evolve(**{**wishes, "subjects": existing.subjects + missing}))
    if name not in bounds and all(getattr(existing, field) == getattr(config, field) for field in governed):
        return Change(name, ChangeKind.UNCHANGED)
    try:
        await _permitted(js.update_stream(config), name, "has other settings, and this login")
    except APIError as error:
        raise ConfigError(f"streams.{name}", f"cannot be changed: {error.description}") from error
    return Change(name, ChangeKind.UPDATED)


async def _not_made(js: Any, name: str, subjects: Sequence[str], error: APIError) -> FleetError:
    """Return the reason why a stream was not created; if its subjects are taken, which, and by which stream."""
    if error.err_code == Code.TOO_MANY_STREAMS:
        return TooManyStreams(str(refused(f"stream {name}", error.err_code, error.description)))
    if error.err_code != Code.SUBJECTS_OVERLAP:
        return refused(f"stream {name}", error.err_code, error.description)
    taken = [(subject, other) for subject in subjects for other in await _streams_of(js, subject)]
    where = ", ".join(sorted({f"{subject} with stream {other}" for subject, other in taken}))
    return ConfigError(
        f"streams.{name}", f"cannot be made: its subjects overlap, {where}: {WAY_OUT[Code.SUBJECTS_OVERLAP]}"
    )


async def _streams_of(js: Any, subject: str) -> list[str]:
    found = await js._api_request(f"{js._prefix}.STREAM.NAMES", json.dumps({"subject": subject}).encode())
    return list(found.get("streams") or ())


def _why(error: NatsError) -> FleetError:
    """Return the error for a failed request to JetStream. nats-py says only "service unavailable" if nobody answers."""
    match error:
        case PermissionRefused():
            return ConfigError("nats_user", f"{error}: log in as the user operator, or give this one the right")
        case APIError(err_code=code, description=description) if code is not None:
            return refused("the fleet's streams", code, description)
        case ServiceUnavailableError() | NoRespondersError():
            return QueueRefused(NO_JETSTREAM)
        case _:
            return QueueUnavailable(f"JetStream: {error}")


def _first_sequence() -> int:
    """Return the first number of a new stream, beyond every number that an earlier stream of this name has given out.

    Holders of an old number (a delivery in hand, a dead letter's number in a terminal, a revision of a bucket) then
    name nothing, instead of another message. Microseconds: no stream takes a message in each for long, and every client
    can hold the number exactly, even those that know numbers as 64-bit floats.
    """
    return time.time_ns() // 1000


async def _permitted(change: Awaitable[Any], name: str, state: str) -> None:
    """Make the change.

    Raises: ConfigError if the broker does not let this login make it.
    """
    try:
        await change
    except PermissionRefused as error:
        right = str(error).rpartition(" ")[2]
        advice = f"an operator runs `fleet topology apply`, or gives it the right to publish to {right}"
        raise ConfigError(f"streams.{name}", f"{state} may not change that: {advice}") from error


def _consistent(config: StreamConfig) -> StreamConfig:
    """Shorten the duplicate window to the messages' age, as the server demands; age 0 is for ever."""
    window = min(config.duplicate_window or 0, config.max_age or inf)
    return config.evolve(duplicate_window=window)


_GOVERNED = (
    "subjects",
    "retention",
    "discard",
    "storage",
    "num_replicas",
    "duplicate_window",
    "max_age",
    "allow_direct",
    "republish",
)

_GOVERNED_TOO: Mapping[str, Sequence[str]] = {FILES: ("max_msgs_per_subject",)}
"""Limits that are no operator's to choose: without this one the content of a deleted file stays as long as others."""
