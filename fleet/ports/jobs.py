"""The seams on the way of a job: its queue, its publisher's desk, its cancellation and its event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fleet.model.cancellation import Cancellation
from fleet.model.delivery import AnyDelivery, Committed, Depths, JobsOf, Settlement, Source, Stored, Transition
from fleet.model.feedback import Feedback
from fleet.model.result import Outbound, Result, Status
from fleet.model.submission import Submission
from fleet.model.webhook import Announced
from fleet.ports.dispatching import LoadBook


class JobQueue(Protocol):
    """The dispatcher's side of the queue. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        """Take up to `limit` deliveries as soon as there is at least one; return none after `wait_seconds`.

        Each is leased to the caller until settled or the lease ends; then it is handed out again. One handed out more
        than `SEALED_BEYOND` times, or that could not be read for a bug, comes `Sealed`.
        """

    @property
    def reading(self) -> AbstractAsyncContextManager[Any]:
        """Context held while reading a message that may crash its reader: `take` reads nothing meanwhile."""

    def read(self, delivery: AnyDelivery) -> AnyDelivery:
        """Return the delivery with the contents of its sealed message. Reading may crash this process."""

    async def begun(self, deliveries: Sequence[AnyDelivery]) -> Sequence[int]:
        """Return how many recorded readings of each message began and never ended."""

    async def note_begun(self, deliveries: Sequence[AnyDelivery], readings: int) -> None:
        """Record that number of begun readings for each delivery; return once the broker has confirmed it."""

    async def commit(self, transitions: Sequence[Transition]) -> Sequence[Committed]:
        """Store what follows from each, and only then settle its delivery; return the outcome of each.

        So a crash at any moment repeats a step and loses nothing. A transition that has something outbound refused for
        good is not settled, and does not hinder the others. Everything has the same id each time, so that to commit
        again, after `QueueUnavailable` say, changes nothing that was stored.

        Raises: NotSettled, a QueueUnavailable, if everything is stored and only settlements are not confirmed.
        """

    async def publish(self, outbound: Sequence[Outbound]) -> Sequence[Stored]:
        """Store what follows from no delivery; return the outcome of each. One refused does not hinder the others."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """End the leases of deliveries with nothing left to store; return once the broker confirmed every `Ack`."""

    async def extend(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Renew the leases of these deliveries."""

    async def depths(self) -> Depths:
        """Count everything that waits or is in hand, in one reading."""

    async def awaited(self, targets: Collection[str]) -> Collection[str]:
        """Return those of the targets whose work a publisher waits for at this moment, without taking any work."""

    async def oldest(self, sources: Sequence[Source]) -> Sequence[float | None]:
        """Return when the oldest message of each source was stored, waiting or in hand, in unix seconds; None: none."""

    def loads(self) -> LoadBook:
        """Return the place where the dispatchers that share this queue report their load."""

    def arrivals(self) -> AsyncIterator[JobsOf]:
        """Yield the tenant of each interactive job as it is stored. An outage may hide one; `depths` counts it."""


class JobDesk(Protocol):
    """The publisher's side of the queue, for one tenant."""

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        """Store the jobs; return True for each new one, False where its id was known. Raises: QueueUnavailable."""

    async def result(self, job_id: str) -> Result | None:
        """Return the stored result, or None while the server we are connected to has none; it may lag behind others.

        Raises: InvalidJob if `job_id` cannot be an id.
        """

    async def stored(self, job_ids: Sequence[str]) -> Sequence[Result | None]:
        """Return the stored result of each job, None where there is none, or where the id cannot be one.

        Raises: QueueUnavailable.
        """

    def announced(self) -> AsyncIterator[str]:
        """Yield the id of each job whose result is announced, from the moment the iterator is first awaited.

        An announced result may not be stored yet, or may be refused in favour of another: `stored` returns the one that
        counts.
        """

    def results(self) -> AsyncIterator[Result]:
        """Yield each result as `announced` tells of it, as it was announced."""

    async def cancel(self, job_id: str) -> None:
        """Store the wish that the job should end.

        Raises: InvalidJob if `job_id` cannot be an id; QueueUnavailable.
        """

    async def give_feedback(self, feedback: Feedback) -> bool:
        """Store the feedback under the desk's tenant, whatever it names; return False if its id was there already.

        Raises: InvalidFeedback, QueueUnavailable.
        """

    async def close(self) -> None: ...


class Cancels(Protocol):
    """The jobs that publishers have cancelled."""

    def follow(self, told_all: Callable[[float | None], None] = ...) -> AsyncIterator[Sequence[Cancellation]]:
        """Yield all cancellations still stored, then each as it comes; one may come again. Outages are waited out.

        `told_all` is called once all stored ones have been taken, with the unix time since when every cancellation is
        among them (older ones may have made room), and with None when some may be missing.
        """

    async def stored(self, cancellations: Sequence[Cancellation]) -> Sequence[bool]:
        """Return whether the broker still stores each cancellation. Raises: QueueUnavailable."""

    async def outcomes(self, cancellations: Sequence[Cancellation]) -> Sequence[Status | None]:
        """Return how each job has ended; None where it has no result. Raises: QueueUnavailable."""


class EventOutbox(Protocol):
    """Where events wait until the webhooks of their tenants have been told."""

    async def announce(self, announced: Sequence[Announced]) -> None:
        """Store what has happened, or the responses to wait for; what is known already is not stored again.

        Raises: QueueUnavailable; then some of it may be stored.
        """
