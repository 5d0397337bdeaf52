"""Describes the fleet's streams, and how long each keeps what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig

from fleet.model.job import Lane
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
    SUBJECTS,
    TURNS,
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


PROVIDER_BATCH_MAX_AGE_SECONDS = 3 * DAY
"""Seconds that it is on record which row is in which batch: a batch ends within a day, and jobs may look later."""

CACHE_MAX_AGE_SECONDS = 7 * DAY
"""Seconds that an answer is kept to be given again, at most."""


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


def stream_configs(spec: TopologySpec) -> Sequence[StreamConfig]:
    """Return the configuration of every stream of the fleet."""
    return [*_for_jobs(spec), *_records(spec), *_contents(spec), *_buckets(spec)]


def consistent(config: StreamConfig) -> StreamConfig:
    """Shorten the duplicate window to the messages' age, as the server demands; age 0 is for ever."""
    window = min(config.duplicate_window or 0, config.max_age or inf)
    return config.evolve(duplicate_window=window)


def _for_jobs(spec: TopologySpec) -> list[StreamConfig]:
    """Return the streams of jobs on their way and of their results."""
    told = RePublish(job_subject(Lane.INTERACTIVE, "*"), arrival_subject("{{wildcard(1)}}"), headers_only=True)
    return [
        _stream(spec, JOBS, republish=told, **_QUEUE),
        _stream(spec, WORK, **_QUEUE),
        _stream(spec, RESULTS, max_age=spec.result_max_age_seconds, allow_direct=True, **_RECORD),
    ]


def _records(spec: TopologySpec) -> list[StreamConfig]:
    """Return the streams of what is known about jobs."""
    cancels: dict[str, Any] = {"max_msgs": MOST_CANCELS, "max_msgs_per_subject": 1}
    return [
        _stream(spec, LEDGER, max_age=spec.ledger_max_age_seconds, **_RECORD),
        _stream(spec, DEAD, max_age=spec.dead_max_age_seconds, **_RECORD),
        _stream(spec, FEEDBACK, max_age=spec.feedback_max_age_seconds, **_RECORD),
        _stream(spec, STARTS, max_age=START_MAX_AGE_SECONDS, **_RECORD),
        _stream(spec, CANCELS, max_age=CANCEL_MAX_AGE_SECONDS, **cancels, **_RECORD),
    ]


def _contents(spec: TopologySpec) -> list[StreamConfig]:
    """Return the streams of contents, files and events."""
    files: dict[str, Any] = {"max_msgs_per_subject": 1, "discard": DiscardPolicy.NEW, "allow_direct": True}
    events: dict[str, Any] = {"max_msgs_per_subject": MOST_EVENTS, "discard_new_per_subject": True}
    return [
        # Taken once and then gone, and never in the way: without a store to take them the oldest make room.
        _stream(spec, CONTENT, max_age=CONTENT_MAX_AGE_SECONDS, retention=RetentionPolicy.WORK_QUEUE),
        # Full, it refuses: what a batch has written is never pushed out by what another uploads. A chunk of a file that
        # is deleted is replaced by an empty one.
        _stream(spec, FILES, max_age=FILE_MAX_AGE_SECONDS, **files, **_RECORD),
        _stream(spec, EVENTS, max_age=EVENT_MAX_AGE_SECONDS, **events, **_QUEUE),
    ]


def _buckets(spec: TopologySpec) -> list[StreamConfig]:
    """Return what NATS clients know as an object store and key-value buckets."""
    return [
        _stream(
            spec,
            LARGE_RESULTS,
            max_age=spec.result_max_age_seconds,
            discard=DiscardPolicy.NEW,
            allow_direct=True,
            allow_rollup_hdrs=True,
            **_RECORD,
        ),
        _stream(spec, CALIBRATIONS, **_KEY_VALUE, **_RECORD),
        _stream(spec, SPEND, max_age=SPEND_MAX_AGE_SECONDS, **_LATEST_VALUE, **_RECORD),
        _stream(spec, LOAD, max_age=LOAD_MAX_AGE_SECONDS, **_LATEST_VALUE, **_RECORD),
        _stream(spec, KEYS, **_LATEST_VALUE, **_RECORD),
        _stream(spec, BATCHES, max_age=FILE_MAX_AGE_SECONDS, **_LATEST_VALUE, **_RECORD),
        _stream(spec, RESPONSES, max_age=RESPONSE_MAX_AGE_SECONDS, **_LATEST_VALUE, **_RECORD),
        # Full, it lets the oldest go. An entry says itself how long it is kept.
        _stream(spec, CACHE, max_age=CACHE_MAX_AGE_SECONDS, **_CACHE, **_RECORD),
        _stream(spec, PROVIDER_BATCHES, max_age=PROVIDER_BATCH_MAX_AGE_SECONDS, **_LATEST_VALUE, **_RECORD),
        _stream(spec, EXPERIMENTS, **_LATEST_VALUE, **_RECORD),
        _stream(spec, ADAPTERS, **_LATEST_VALUE, **_RECORD),
        # The files of a version that no adapter has any more are purged.
        _stream(spec, ADAPTER_OBJECTS, **{**_LATEST_VALUE, "deny_delete": False}, **_RECORD),
        _stream(spec, TURNS, **_LATEST_VALUE, **_RECORD),
        # An endpoint that is deleted leaves nothing behind.
        _stream(spec, WEBHOOKS, **{**_LATEST_VALUE, "deny_delete": False}, **_RECORD),
    ]


_QUEUE: dict[str, Any] = {"retention": RetentionPolicy.WORK_QUEUE, "discard": DiscardPolicy.NEW}
"""Settings of a stream whose messages go once they are settled."""

_RECORD: dict[str, Any] = {"retention": RetentionPolicy.LIMITS}
"""Settings of a stream whose messages stay until they are too old."""

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


_CACHE: dict[str, Any] = {
    **_LATEST_VALUE,
    "discard": DiscardPolicy.OLD,
    "deny_delete": False,
    "allow_msg_ttl": True,
}
"""Settings of a key-value bucket that forgets."""


def _stream(spec: TopologySpec, name: str, **config: Any) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=list(SUBJECTS[name]),
        storage=None if spec.storage is None else StorageType(spec.storage),
        num_replicas=spec.replicas,
        duplicate_window=spec.duplicate_window_seconds,
        **config,
    )
