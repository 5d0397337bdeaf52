"""The seams of the fleet: small Protocols, declared by the code that uses them.

The queue and the desk have a real and an in-process implementation each, and both pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fleet.model.attempt import Outcome
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.call import Call
from fleet.model.cancellation import Cancellation
from fleet.model.delivery import AnyDelivery, Depths, JobsOf, Post, Settlement, Source, Stored
from fleet.model.feedback import Feedback
from fleet.model.money import Claim, MoneyView, Refusal, Reservation
from fleet.model.result import Kept, LedgerEntry, Result, Status
from fleet.model.scaling import Capacity, Load
from fleet.model.span import Span
from fleet.model.submission import Submission


class JobQueue(Protocol):
    """The dispatcher's side of the queue. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def take(self, source: Source, limit: int, wait_seconds: float) -> Sequence[AnyDelivery]:
        """Up to `limit` deliveries as soon as there is at least one; none after `wait_seconds`.

        Each is leased to the caller until settled or the lease ends; then it is handed out again. One handed out more
        than `SEALED_BEYOND` times, or that could not be read for a bug, comes `Sealed`.
        """

    @property
    def reading(self) -> AbstractAsyncContextManager[Any]:
        """Held while a message is read that may crash whoever reads it: `take` reads nothing beside it."""

    def read(self, delivery: AnyDelivery) -> AnyDelivery:
        """The delivery with what its sealed message holds. It may crash this process."""

    async def begun(self, deliveries: Sequence[AnyDelivery]) -> Sequence[int]:
        """How many readings of each message are on record that have begun and never ended."""

    async def note_begun(self, deliveries: Sequence[AnyDelivery], readings: int) -> None:
        """Put that on record, for all of them; returns once the broker has confirmed it."""

    async def publish(self, posts: Sequence[Post]) -> Sequence[Stored]:
        """Store all of them; what became of each. One that is refused for good does not hinder the others."""

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """End the leases; returns once the broker has confirmed every `Ack`."""

    async def extend(self, deliveries: Sequence[AnyDelivery]) -> None:
        """Start the leases of these deliveries anew."""

    async def depths(self) -> Depths:
        """One reading of everything that waits or is in hand."""

    async def awaited(self, targets: Collection[str]) -> Collection[str]:
        """Those of the targets whose work somebody waits for at this moment. It takes nothing."""

    def loads(self) -> LoadBook:
        """Where the dispatchers that share this queue report their load."""

    def arrivals(self) -> AsyncIterator[JobsOf]:
        """The tenant of every interactive job as it is stored. One may be missed in an outage; `depths` counts it."""


class JobDesk(Protocol):
    """The publisher's side of the queue, for one tenant."""

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        """Store the jobs; True where stored, False where the id was there already. Raises `QueueUnavailable`."""

    async def result(self, job_id: str) -> Result | None:
        """The stored result, or None while there is none. Raises `InvalidJob` for what cannot be an id."""

    def results(self) -> AsyncIterator[Result]:
        """Each result of the tenant as it is announced, from the moment the iterator is first awaited on.

        It may not be stored yet, or be refused for another that is: `result` gives the one that counts.
        """

    async def cancel(self, job_id: str) -> None:
        """Store the wish that the job shall end. Raises `InvalidJob` for what cannot be an id, `QueueUnavailable`."""

    async def give_feedback(self, feedback: Feedback) -> bool:
        """Store it under the desk's tenant, whatever its own; False where its id was there already.

        Raises `InvalidFeedback`, `QueueUnavailable`.
        """

    async def close(self) -> None: ...


class Cancels(Protocol):
    """The jobs that publishers have called off."""

    def follow(self, told_all: Callable[[float | None], None] = ...) -> AsyncIterator[Sequence[Cancellation]]:
        """All that are still stored, then each as it comes; a wish may come again. Outages are waited out.

        `told_all` is called once all that are stored have been taken, with the unix time since when every wish is
        among them (older ones may have made room), and with None when some may be missing.
        """

    async def stored(self, cancellations: Sequence[Cancellation]) -> Sequence[bool]:
        """Which of them the broker keeps. Raises `QueueUnavailable`."""

    async def outcomes(self, cancellations: Sequence[Cancellation]) -> Sequence[Status | None]:
        """How each job has ended; None where it has no result. Raises `QueueUnavailable`."""


class DeadLetters(Protocol):
    """What could not be read or finished. Every method raises `QueueUnavailable` if the broker does not answer."""

    def letters(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        """Those still kept, of the tenant or of all, oldest first."""

    async def letter(self, sequence: int) -> Kept | None:
        """The one with this number; None where there is none."""

    async def redrive(self, kept: Kept, now: float) -> str:
        """Submit its job anew and return its new id; a repetition changes nothing. The letter stays.

        Raises `InvalidJob` where the letter holds no job.
        """

    async def drop(self, sequence: int) -> bool:
        """Remove it; False where it was not there."""

    async def close(self) -> None: ...


class Journal(Protocol):
    """What was recorded of jobs, and what was said of their answers, up to the moment of asking."""

    def ledger(self) -> AsyncIterator[LedgerEntry]:
        """Every entry that is still kept, oldest first. Raises `QueueUnavailable`."""

    def feedback(self) -> AsyncIterator[Feedback]:
        """Every feedback that is still kept, oldest first. Raises `QueueUnavailable`."""

    def unreadable(self) -> int:
        """How many messages were skipped so far because they could not be read; each has been logged."""

    async def close(self) -> None: ...


class CalibrationStore(Protocol):
    """The calibrations in force. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[CalibrationKey, Calibration]:
        """The latest of every key; what cannot be read is left out and logged."""

    async def put(self, calibrations: Sequence[Calibration]) -> None:
        """Put them in force; the ones before them stay in their history."""

    async def roll_back(self, key: CalibrationKey) -> Calibration:
        """Put the one before the latest in force again, under a version that says so; it is returned.

        Raises `ConfigError` where there is none.
        """

    async def watch(self, on_change: Callable[[Mapping[CalibrationKey, Calibration]], None]) -> None:
        """Call with all that is in force, now and after every change, until cancelled; outages are waited out."""

    async def close(self) -> None: ...


class Backend(Protocol):
    """Runs requests on one target."""

    def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        """The outcome of each call with its index, grouped as they finish; one for each, whatever fails.

        Never raises for a request or a target that fails: that is a `Failure`.
        """

    async def stop(self, ids: Collection[str]) -> None:
        """End the calls with these ids as soon as can be; nobody waits for their outcomes. Never raises."""

    async def close(self) -> None: ...


class SpendBook(Protocol):
    """What the fleet spends outside itself, shared by all dispatchers; a day is a UTC day."""

    async def reserve(self, claims: Sequence[Claim]) -> Sequence[Reservation | Refusal]:
        """Set money aside for each claim that fits into its limits.

        Raises `QueueUnavailable`: then nothing may be spent on any of them.
        """

    def settle(self, reservation: Reservation, nano: int) -> None:
        """Book what it came to in place of the reservation, once. Done in the background, outages are waited out."""

    def seen(self) -> MoneyView:
        """What was spent today when this process last looked."""

    async def close(self) -> None:
        """Return once everything settled is booked, or the broker does not answer."""


class LoadBook(Protocol):
    """What the dispatchers of the fleet last reported. Every method raises `QueueUnavailable`."""

    async def report(self, load: Load) -> None:
        """Put it in place of the dispatcher's last one. It goes by itself some time after the last of them."""

    async def read(self) -> Sequence[Load]:
        """The last report of every dispatcher that made one of late."""


class Capacities(Protocol):
    """The replicas of the self-hosted targets."""

    async def read(self) -> Mapping[str, Capacity]:
        """By target; what is not deployed is left out. Raises `BackendUnavailable`."""


class Tracer(Protocol):
    """Where finished spans go."""

    def record(self, span: Span) -> str | None:
        """Keep the span; its traceparent for children, or the parent's where tracing is off."""


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
