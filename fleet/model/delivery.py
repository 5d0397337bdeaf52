"""A delivery: one hand-over by the queue, and the ways to settle it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from fleet.model.job import Job, Lane
from fleet.model.result import Letter, Malformed, Work

Body = TypeVar("Body", bound=Job | Work | Malformed, covariant=True)


@dataclass(frozen=True, slots=True)
class JobsOf:
    """The jobs waiting in a lane."""

    lane: Lane


@dataclass(frozen=True, slots=True)
class WorkOf:
    """The work waiting for a target in a lane."""

    target: str
    lane: Lane


Source = JobsOf | WorkOf


@dataclass(frozen=True, slots=True)
class Delivery(Generic[Body]):
    """One hand-over of a job. `deliveries` counts from 1; `stored_at` is unix seconds.

    `raw` is the message as it came, for a dead letter. `token` belongs to the queue that made the
    delivery; nobody else looks inside.
    """

    body: Body
    source: Source
    deliveries: int
    stored_at: float
    traceparent: str | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)
    token: object = field(default=None, compare=False, repr=False)


AnyDelivery = Delivery[Job | Work | Malformed]


@dataclass(frozen=True, slots=True)
class Ack:
    """Done: the queue forgets it. Confirmed by the broker before `settle` returns."""

    delivery: AnyDelivery


@dataclass(frozen=True, slots=True)
class Retry:
    """Hand it out again after `delay_seconds`."""

    delivery: AnyDelivery
    delay_seconds: float = 0.0


Settlement = Ack | Retry


class Stored(Enum):
    """What became of a post: `NEW` is stored, `REPEAT` was there already, `REFUSED` will never be taken."""

    NEW = auto()
    REPEAT = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Post:
    """A letter on its way to the queue, with the trace it belongs to."""

    letter: Letter
    traceparent: str | None = None
