"""Makes the fleet's streams as they are described."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import APIError, ServiceUnavailableError

from fleet.model.delivery import JobsOf
from fleet.model.errors import ConfigError, FleetError, QueueRefused, QueueUnavailable
from fleet.model.job import FAIR_LANES
from queues.jetstream.causes import NO_JETSTREAM, WAY_OUT, refused
from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.codes import Code
from queues.jetstream.consuming.consumers import drop_consumer
from queues.jetstream.streams import measuring, shares
from queues.jetstream.streams.configs import SHIPPED, TopologySpec, consistent, stream_configs
from queues.wire.subjects import FILES


class TooManyStreams(QueueRefused):
    """Raised if the account allows no further stream."""


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
    return await shares.found(js, [str(config.name) for config in stream_configs(SHIPPED)])


async def _apply(js: Any, spec: TopologySpec, existing: shares.Existing) -> Sequence[Change]:
    pairs = zip(stream_configs(spec), stream_configs(SHIPPED), strict=True)
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
    names = {config.name for config in stream_configs(SHIPPED)}
    try:
        infos = await measuring.all_streams(js)
    except NatsError as error:
        raise _why(error) from error
    return {info.config.name: info.state.messages for info in infos if info.config.name in names}


async def _apply_stream(
    js: Any, wanted: StreamConfig, shipped: StreamConfig, found: StreamInfo | None, bounds: Mapping[str, int]
) -> Change:
    name = str(wanted.name)
    governed = (*_GOVERNED, *_GOVERNED_TOO.get(name, ()))
    wishes = {field: value for field in governed if (value := getattr(wanted, field)) is not None}
    wishes |= shares.settings(shipped if found is None else found.config, bounds.get(name))
    if found is None:
        made = consistent(shipped.evolve(**wishes, first_seq=_first_sequence()))
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
    config = consistent(existing.evolve(**{**wishes, "subjects": existing.subjects + missing}))
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
