"""The seams that a dispatcher uses beside its queue: targets, money, load, time, and who is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from fleet.model.attempt import Failure, Outcome
from fleet.model.batched import Batched, Observed
from fleet.model.call import Call
from fleet.model.delivery import Committed, Transition
from fleet.model.money import Claim, Deposit, MoneyView, NanoUsd, Refusal, Reservation
from fleet.model.result import LedgerEntry
from fleet.model.scaling import Capacity, Load, ObservedStart
from fleet.model.span import Sampling, Span


class Backend(Protocol):
    """Runs requests on one target."""

    def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        """Yield the outcome of each call with its index, grouped as they finish; one for each, whatever fails.

        Never raises for a request or a target that fails: its outcome is a `Failure`.
        """

    async def stop(self, ids: Collection[str]) -> None:
        """End the calls with these ids as soon as possible; nobody waits for their outcomes. Never raises."""

    async def close(self) -> None: ...


class BatchedCalls(Protocol):
    """Sends the calls of one target in its provider's batches. Nothing is kept here that others could not find out."""

    def observed(self) -> tuple[Observed, ...]:
        """Return how long the batches seen here took, and how long those that run have been running."""

    async def look(self, calls: Sequence[Call]) -> Sequence[Batched | None]:
        """Return for each call the batch that it is in, with its outcome if there is one; None: it is in none.

        Raises: QueueUnavailable.
        """

    async def send(self, calls: Sequence[tuple[Call, Deposit | None]]) -> Sequence[Failure | bool]:
        """Send calls that are in no batch, with the money set aside for them.

        Return for each whether it was: False if somebody else has sent it meanwhile, a failure if it was not.
        The calls' time-outs say when nobody waits any more: the batch is cancelled then, unless it has ended.

        Raises: QueueUnavailable; then nothing was sent that is not on record.
        """

    async def close(self) -> None: ...


class SpendBook(Protocol):
    """The money spent outside the fleet, shared by all dispatchers; a day is a UTC day."""

    async def reserve(self, claims: Sequence[Claim]) -> Sequence[Reservation | Refusal]:
        """Set money aside for each claim that fits into its limits.

        Raises: QueueUnavailable; then nothing may be spent on any of them.
        """

    def settle(self, reservation: Reservation, cost: NanoUsd) -> None:
        """Book the actual cost in place of the reservation, once, in the background; outages are waited out."""

    def seen(self) -> MoneyView:
        """Return what was spent today when this process last looked."""

    async def close(self) -> None:
        """Return once everything settled is booked, or if the broker does not answer."""


class LoadBook(Protocol):
    """The latest load reports of the fleet's dispatchers. Every method raises `QueueUnavailable`."""

    async def report(self, load: Load) -> None:
        """Replace the dispatcher's last report. A report expires some time after it was made."""

    async def read(self) -> Sequence[Load]:
        """Return the last report of every dispatcher that made one recently."""


class Capacities(Protocol):
    """The replicas of the self-hosted targets."""

    async def read(self) -> Mapping[str, Capacity]:
        """Return the capacity of each target; those not deployed are left out. Raises: BackendUnavailable."""


class ColdStartBook(Protocol):
    """The last starts seen of each target, shared by all dispatchers. Every method raises `QueueUnavailable`."""

    async def read(self) -> Mapping[str, Sequence[ObservedStart]]:
        """Return the starts of each target, the latest last."""

    async def add(self, target: str, start: ObservedStart) -> Sequence[ObservedStart]:
        """Store a start, which others may have seen as well, and return those that are stored then."""


class Tracer(Protocol):
    """Takes the traces that are kept to where people look at them. Neither method waits for that."""

    @property
    def sampling(self) -> Sampling:
        """Return the rule by which traces are kept."""

    def export(self, lines: Sequence[LedgerEntry]) -> None:
        """Export the spans of a job, or of a comparison, that are made of these lines of the ledger."""

    def export_span(self, span: Span) -> None:
        """Export a span that belongs to no job."""


class Recorder(Protocol):
    """Counts what happens to jobs, for metrics. It is called for every job: it waits for nothing and costs little."""

    def committed(self, steps: Sequence[tuple[Transition, Committed]], exported: Sequence[bool], at: float) -> None:
        """Count what was new when it was stored, and settled at `at`, unix seconds.

        `exported` says whose job's trace was exported.
        """

    def batched(self, target: str, jobs: int) -> None:
        """Count a micro-batch that is sent to the target."""


class Clock(Protocol):
    def now(self) -> float:
        """Return the current time in unix seconds."""
