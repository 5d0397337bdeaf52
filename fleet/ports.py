"""The seams of the fleet: small Protocols, declared by the code that uses them.

The queue and the desk have a real and an in-process implementation each, and both pass the same contract suite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fleet.model.api_key import ApiKey
from fleet.model.attempt import Outcome
from fleet.model.batch import Batch, Purpose, Segment, StoredFile
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.call import Call
from fleet.model.cancellation import Cancellation
from fleet.model.delivery import AnyDelivery, Committed, Depths, JobsOf, Settlement, Source, Stored, Transition
from fleet.model.feedback import Feedback
from fleet.model.money import Claim, MoneyView, NanoUsd, Refusal, Reservation
from fleet.model.result import Kept, LedgerEntry, LedgerLine, LedgerStream, Outbound, Result, Status
from fleet.model.scaling import Capacity, Load
from fleet.model.span import Sampling, Span
from fleet.model.submission import Submission
from fleet.model.webhook import Announced


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
        """Return the stored result, or None while there is none. Raises: InvalidJob if `job_id` cannot be an id."""

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


class ResponseStore(Protocol):
    """The records of one tenant's responses, by the ids of their jobs. Every method raises `QueueUnavailable`."""

    async def get(self, job_id: str) -> bytes | None:
        """Return the record, or None if there is none. Raises: InvalidJob if `job_id` cannot be an id."""

    async def put(self, job_id: str, record: bytes) -> None:
        """Store the record in place of any other."""

    async def delete(self, job_id: str) -> None:
        """Remove the record, if there is one."""


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


class DeadLetters(Protocol):
    """Messages that could not be read or finished. Every method raises `QueueUnavailable` if the broker is away."""

    def letters(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        """Yield the dead letters still kept, of the tenant or of all, oldest first."""

    async def latest(self, limit: int, before: int | None = None) -> Sequence[Kept]:
        """Return at most `limit` letters, newest first: of all, or of those numbered below `before`."""

    async def letter(self, sequence: int) -> Kept | None:
        """Return the dead letter with this number, or None."""

    async def redrive(self, kept: Kept, now: float) -> str:
        """Submit the letter's job again and return its new id; a repetition changes nothing. The letter stays.

        Raises: InvalidJob if the letter holds no job.
        """

    async def drop(self, sequence: int) -> bool:
        """Remove the letter with this number; return False if there was none."""

    async def close(self) -> None: ...


class Journal(Protocol):
    """Records of jobs, and feedback on their answers, up to the moment of asking."""

    def ledger(self, tenant: str | None = None, job_id: str | None = None) -> AsyncIterator[LedgerEntry]:
        """Yield every ledger entry still kept, of the tenant and of the job if given, oldest first.

        Raises: QueueUnavailable.
        """

    def feedback(self) -> AsyncIterator[Feedback]:
        """Yield all feedback still kept, oldest first. Raises: QueueUnavailable."""

    def unreadable(self) -> int:
        """Return how many messages were skipped so far because they could not be read; each has been logged."""

    async def close(self) -> None: ...


class LedgerFeed(Protocol):
    """The lines of accounts in the order of their stream, for the one process that writes them down."""

    async def begin(self, after: int, since: float | None = None) -> LedgerStream:
        """Start behind this message of the stream, whatever was taken before.

        With `since` start at the first message that was stored at or after this time (unix seconds) instead.

        Raises: QueueUnavailable.
        """

    async def take(self, limit: int, wait_seconds: float) -> Sequence[LedgerLine]:
        """Return the next lines, up to `limit`; none if none comes within `wait_seconds`.

        Each line comes once and none is left out. Raises: QueueUnavailable, and then `begin` has to be called again.
        """

    async def written(self, sequence: int) -> None:
        """Tell the broker that all lines up to this one are written down. Raises: QueueUnavailable."""

    async def stream(self) -> LedgerStream:
        """Return the state of the stream. Raises: QueueUnavailable."""

    async def close(self) -> None: ...


class CalibrationStore(Protocol):
    """The calibrations in force. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[CalibrationKey, Calibration]:
        """Return the latest calibration of every key; those that cannot be read are left out and logged."""

    async def put(self, calibrations: Sequence[Calibration]) -> None:
        """Put the calibrations in force; the ones before them stay in their history."""

    async def roll_back(self, key: CalibrationKey) -> Calibration:
        """Put the one before the latest in force again, under a version that says so, and return it.

        Raises: ConfigError if there is none.
        """

    async def watch(self, on_change: Callable[[Mapping[CalibrationKey, Calibration]], None]) -> None:
        """Pass all calibrations in force to `on_change`, now and after each change, until cancelled, outages or not."""

    async def close(self) -> None: ...


class KeyStore(Protocol):
    """The API keys of all tenants. Every method raises `QueueUnavailable` if the broker does not answer."""

    async def read_all(self) -> Mapping[str, ApiKey]:
        """Return every key by its id, the expired and the revoked too; those that cannot be read are logged."""

    async def add(self, key: ApiKey) -> None:
        """Store a new key."""

    async def revoke(self, key_id: str, at: float) -> ApiKey | None:
        """End the key at `at`, unless it has ended before, and return it; None if there is none of this id."""

    async def watch(self, on_change: Callable[[Mapping[str, ApiKey]], None]) -> None:
        """Pass all keys to `on_change`, now and after each change, until cancelled, outages or not."""

    async def close(self) -> None: ...


class FileStore(Protocol):
    """The files of one tenant. Every method raises `QueueUnavailable`; a file of another tenant is not there."""

    async def create(
        self,
        filename: str,
        purpose: Purpose = ...,
        expires_at: float | None = None,
        file_id: str | None = None,
        batch_id: str | None = None,
    ) -> StoredFile:
        """Make an empty file, open to be appended to; with a `batch_id` it is what that batch writes.

        With a `file_id` a repetition changes nothing.
        """

    async def append(self, file_id: str, content: bytes, rows: int = 0) -> StoredFile | None:
        """Append a piece, at most a few megabytes, and return the file; None if it is not there or is closed.

        If this raises, the piece may have been appended.
        """

    async def close(self, file_id: str, expires_at: float | None = None) -> StoredFile | None:
        """Let the file grow no more, and expire then if that is given; return it, or None if it is not there."""

    async def info(self, file_id: str) -> StoredFile | None: ...

    def read(self, file_id: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`, in pieces, as far as the file goes when it is called.

        Yields nothing if the file is not there: ask `info` first.
        """

    async def list(self) -> Sequence[StoredFile]:
        """Return the tenant's files, newest first."""

    async def count(self) -> int:
        """Return how many files the tenant has, some that have expired included."""

    async def delete(self, file_id: str) -> bool:
        """Remove the file and its content; return False if it is not there. Who reads it just then fails."""

    async def claim(self, upload: str, file: StoredFile, content: str, since: float) -> tuple[StoredFile, str]:
        """Return the one file that stands for an upload of this name, with the digest of its content.

        That is the file that claimed the name before, if it was made at `since` (unix seconds) or later and is still
        there, and else this one.
        """

    async def write(self, file_id: str, content: bytes, rows: int) -> Segment:
        """Store a segment that is part of no file until an entry names it."""


class BatchStore(Protocol):
    """The batches of one tenant. Every method raises `QueueUnavailable`; one of another tenant is not there."""

    async def create(self, batch: Batch) -> bool:
        """Store a new batch for its runner to find; return False if its id is taken."""

    async def get(self, batch_id: str) -> tuple[Batch, int] | None:
        """Return the batch and its revision."""

    async def update(self, batch: Batch, revision: int) -> int | None:
        """Replace this revision and return the new one; None if the batch has changed since.

        If this raises, it may have been replaced.
        """

    async def list(self, limit: int | None = None, after: str | None = None) -> Sequence[Batch]:
        """Return the tenant's batches, newest first; with `after`, those made before that one."""

    def watch(self, batch_id: str) -> AsyncIterator[Batch]:
        """Yield the batch, now and as it changes, up to its end; nothing if it is not there. Outages are waited out."""


class AllBatches(Protocol):
    """The runner's view of the batches of all tenants. Every method raises `QueueUnavailable`."""

    async def unfinished(self) -> Sequence[tuple[Batch, int]]:
        """Return every batch that has not ended, or whose end is not told, with its revision; oldest first."""

    async def changed(self, timeout_seconds: float) -> None:
        """Return once a batch may have been made or changed by anyone, or after the timeout."""

    async def known(self, tenant: str, job_ids: Collection[str]) -> Collection[str]:
        """Return those of the tenant's jobs in lane bulk that wait, are in hand, or have a result at this moment."""

    def files(self, tenant: str) -> FileStore: ...

    def batches(self, tenant: str) -> BatchStore: ...


class EventOutbox(Protocol):
    """Where events wait until the webhooks of their tenants have been told."""

    async def announce(self, announced: Sequence[Announced]) -> None:
        """Store what has happened, or the responses to wait for; what is known already is not stored again.

        Raises: QueueUnavailable; then some of it may be stored.
        """


class Backend(Protocol):
    """Runs requests on one target."""

    def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        """Yield the outcome of each call with its index, grouped as they finish; one for each, whatever fails.

        Never raises for a request or a target that fails: its outcome is a `Failure`.
        """

    async def stop(self, ids: Collection[str]) -> None:
        """End the calls with these ids as soon as possible; nobody waits for their outcomes. Never raises."""

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
