"""A finished span of a job's trace; recorded after the fact, so that carrying a job never waits for tracing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AttributeValue = str | int | float | bool


class SpanName(StrEnum):
    INTAKE = "fleet.intake"
    QUEUE_WAIT = "fleet.queue_wait"
    BATCH = "fleet.batch"
    MODEL_CALL = "fleet.model_call"
    ESCALATE = "fleet.escalate"
    PUBLISH = "fleet.publish"


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a job with its times. `parent` and `links` are W3C traceparents; times are unix seconds."""

    name: SpanName
    parent: str | None
    started_at: float
    ended_at: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    error: str | None = None
