"""The seams of the fleet: small Protocols, declared by the code that uses them.

The queue and the desk have a real and an in-process implementation each, and both pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from fleet.model.attempt import Outcome
from fleet.model.call import Call
from fleet.model.delivery import AnyDelivery, Post, Settlement, Source, Stored
from fleet.model.result import Result
from fleet.model.span import Span
from fleet.model.submission import Submission


class JobQueue(Protocol):
    """The dispatcher's side of the queue. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        """Up to `limit` deliveries as soon as there is at least one; none after `wait_seconds`.

        Each is leased to the caller until settled or the lease ends; then it is handed out again.
        """

    async def publish(self, posts: Sequence[Post]) -> Sequence[Stored]:
        """Store all of them; what became of each. One that is refused for good does not hinder the others."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """End the leases; returns once the broker has confirmed every `Ack`."""

    async def extend(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Start the leases of these deliveries anew."""

    async def depths(self) -> Mapping[str, int]:
        """Work waiting or in flight, by target."""


class JobDesk(Protocol):
    """The publisher's side of the queue, for one tenant."""

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        """Store the jobs; True where stored, False where the id was there already. Raises `QueueUnavailable`."""

    async def result(self, job_id: str) -> Result | None:
        """The stored result, or None while there is none. Raises `InvalidJob` for what cannot be an id."""

    def results(self) -> AsyncIterator[Result]:
        """Every result of the tenant stored from the moment the iterator is first awaited on."""

    async def close(self) -> None: ...


class Backend(Protocol):
    """Runs requests on one target."""

    def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        """The outcome of each call with its index, grouped as they finish; one for each, whatever fails.

        Never raises for a request or a target that fails: that is a `Failure`.
        """

    async def close(self) -> None: ...


class Tracer(Protocol):
    """Where finished spans go."""

    def record(self, span: Span) -> str | None:
        """Keep the span; its traceparent for children, or the parent's where tracing is off."""


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
