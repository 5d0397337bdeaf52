"""A delivery: one hand-over by the queue, and the ways to settle it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane
from fleet.model.result import Malformed, Outbound, Work
from fleet.model.unguarded import unguarded

SEALED_BEYOND = 2
"""Deliveries beyond which a message comes sealed: it has been in two crashes, or has waited."""

Body = TypeVar("Body", bound=Job | Work | Malformed, covariant=True)


@unguarded
@dataclass(frozen=True, slots=True)
class JobsOf:
    """The jobs waiting in a lane, of one tenant or (None) of all. A lane is served in one of these two ways."""

    lane: Lane
    tenant: str | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class WorkOf:
    """The work waiting for a target in a lane."""

    target: str
    lane: Lane


Source = JobsOf | WorkOf


@dataclass(frozen=True, slots=True)
class Fill:
    """The fill of a stream in bytes. `limit` 0: nothing bounds it."""

    size: int = 0
    limit: int = 0

    def beyond(self, share: float) -> float:
        """Return the bytes above this share of the limit; 0 where there are none."""
        return max(0.0, self.size - share * self.limit) if self.limit else 0.0


@dataclass(frozen=True, slots=True)
class Depths:
    """Counts of what is stored at one moment, waiting or in hand: jobs by lane and tenant, work by target and lane.

    `in_flight` is the work by tenant, over all targets and lanes, `work_by_tenant` the same by target and lane. `at` is
    the broker's time then, in unix seconds. `jobs_fill` and `work_fill` are how full the streams of both are.
    """

    jobs: Mapping[JobsOf, int] = field(default_factory=dict)
    work: Mapping[WorkOf, int] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    work_by_tenant: Mapping[WorkOf, Mapping[str, int]] = field(default_factory=dict)
    at: float | None = field(default=None, compare=False)
    jobs_fill: Fill = field(default_factory=Fill, compare=False)
    work_fill: Fill = field(default_factory=Fill, compare=False)

    def of_target(self, target: str) -> int:
        return sum(self.work.get(WorkOf(target, lane), 0) for lane in Lane)

    def by_target(self) -> dict[str, int]:
        """Return the number of work messages for every target that has any."""
        return {source.target: self.of_target(source.target) for source in self.work}


@unguarded
@dataclass(frozen=True, slots=True)
class Delivery(Generic[Body]):
    """A hand-over of a message by the queue. `deliveries` counts from 1; `stored_at` is unix seconds.

    `raw` is the message as it came, for a dead letter. `token` belongs to the queue that made the
    delivery; nobody else looks inside. `source` is where the job counts as waiting: a direct job that of its target.
    """

    body: Body
    source: Source
    deliveries: int
    stored_at: float
    traceparent: str | None = None
    raw: bytes = field(default=b"", compare=False, repr=False)
    token: object = field(default=None, compare=False, repr=False)

    @property
    def is_direct(self) -> bool:
        """Return whether the job runs on the very delivery it came in with, and has no message on WORK."""
        return isinstance(self.source, WorkOf) and isinstance(self.body, Job)


AnyDelivery = Delivery[Job | Work | Malformed]


@unguarded
@dataclass(frozen=True, slots=True)
class Ack:
    """Ends a delivery as done: the queue forgets it. The broker confirms this before `settle` returns."""

    delivery: AnyDelivery


@dataclass(frozen=True, slots=True)
class Retry:
    """Asks for another delivery after `delay_seconds`; the queue may shorten delays of a minute or more."""

    delivery: AnyDelivery
    delay_seconds: float = 0.0


Settlement = Ack | Retry


class Stored(Enum):
    """The outcome of storing a message: `NEW` is stored, `REPEAT` was there already, `REFUSED` will never be taken."""

    NEW = auto()
    REPEAT = auto()
    REFUSED = auto()


@unguarded
@dataclass(frozen=True, slots=True)
class Transition:
    """The consequence of one decision: what is stored, and then how the delivery it was made on is settled."""

    outbound: tuple[Outbound, ...]
    settlement: Settlement
    traceparent: str | None = None
    """The publisher's, which everything outbound carries on."""
    aside: tuple[Outbound, ...] = ()
    """Messages stored after `outbound`, only to learn from: if one is refused, the delivery is settled after all."""

    @property
    def delivery(self) -> AnyDelivery:
        return self.settlement.delivery

    @property
    def everything(self) -> tuple[Outbound, ...]:
        """The messages to store, in this order."""
        return (*self.outbound, *self.aside) if self.aside else self.outbound


@unguarded
@dataclass(frozen=True, slots=True)
class Committed:
    """The outcome of a transition. Its delivery is not `settled` only where something outbound was refused."""

    refused: tuple[Outbound, ...] = ()
    repeated: tuple[Outbound, ...] = ()
    """The messages that were there already."""
    settled: bool = True


class NotSettled(QueueUnavailable):
    """Raised if all is stored and only the settlements are not confirmed: `settle` is all that is left to do."""

    def __init__(self, committed: Sequence[Committed], why: str) -> None:
        super().__init__(why)
        self.committed = committed
