"""The messages a dispatcher sends: one result per job, one ledger line per attempt, a dead letter where one is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Hop
from fleet.model.caching import Near
from fleet.model.content import Content
from fleet.model.experiment import Assignment
from fleet.model.feedback import Feedback
from fleet.model.job import Job, JobRef, Lane
from fleet.model.reason import Reason
from fleet.model.unguarded import unguarded


class Status(StrEnum):
    SUCCEEDED = "succeeded"
    BEST_EFFORT = "best_effort"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Problem:
    """The explanation why there is no answer: `field` and `rule` for bad input, `message` in one line always."""

    message: str
    field: str | None = None
    rule: str | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Result:
    """The one terminal result of a job. `attempts` is the whole history, oldest first."""

    job_id: str
    tenant: str
    status: Status
    reason: Reason
    finished_at: float
    task: str | None = None
    submitted_at: float | None = None
    answer: Answer | None = None
    target: str | None = None
    confidence: float | None = None
    attempts: tuple[Attempt, ...] = ()
    problem: Problem | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def cost_usd(self) -> float:
        return sum(attempt.cost_usd for attempt in self.attempts)


@unguarded
@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A line of accounts: an attempt, or the end of a job that does not end with one of this line (`attempt` is None).

    `reason` explains the decision that followed; `status` is set on the line that ended the job. `target` is whose
    answer that job got, on a line without an attempt: it did not run once more, or an earlier answer was the better.
    `task` and `plan` are missing only where the message could not be read. `submitted_at` is when the broker stored the
    job and `intake` how its message was taken in, which a comparison's line leaves out; `traceparent` is the
    publisher's, and `person` whom the job is about. `assigned` is the arm of an experiment that the job is in.
    """

    job_id: str
    tenant: str
    lane: Lane
    at: float
    reason: Reason
    task: str | None = None
    plan: str | None = None
    status: Status | None = None
    attempt: Attempt | None = None
    submitted_at: float | None = None
    traceparent: str | None = None
    intake: Hop | None = None
    person: str | None = None
    target: str | None = None
    assigned: Assignment | None = None

    @property
    def line(self) -> str:
        """The line's name among those of its job, "0" for an end without an attempt.

        A repeated call has its own, as has giving up on one: earlier lines may be booked. So has the comparison of a
        diet, which has the same number as one with a stronger target.
        """
        attempt = self.attempt
        if attempt is None:
            return "0"
        if isinstance(attempt.outcome, Failure) and attempt.outcome.kind is FailureKind.INTERRUPTED:
            return f"{attempt.number}.interrupted"
        number = f"{attempt.number}.diet" if attempt.reason is Reason.SHADOW and attempt.diet else str(attempt.number)
        return f"{number}.again" if attempt.repeated else number


@unguarded
@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A line of accounts as it lies in its stream: message number `sequence`, as bytes that may be no ledger entry.

    `stored_at` is unix seconds by the broker's clock. A repeated line has the same `message_id`.
    """

    sequence: int
    stored_at: float
    tenant: str
    message_id: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class LedgerStream:
    """The stream of accounts: when it was made, by the broker's word, its first and last message, and those to take."""

    made_at: str
    first_sequence: int
    last_sequence: int
    waiting: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be read or finished, kept whole with the reason; `lane` None where nobody noted it."""

    tenant: str
    job_id: str
    reason: Reason
    problem: Problem
    body: bytes
    at: float
    lane: Lane | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A dead letter as stored in its stream, under this number."""

    sequence: int
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Start:
    """A call, paid or of a suspect, that is about to be made: number `call` for attempt number `attempt` of the job.

    `call` is above 1 where a dispatcher began the attempt and never finished it; `by` tells a repeated record of one
    call from that of another.
    """

    job_id: str
    tenant: str
    attempt: int
    call: int
    target: str
    at: float
    by: str


SHADOW_ID = "shadow-"
"""Prefix of the id under which a comparison travels. A job's id may begin so as well."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """A comparison behind a result that has been delivered: attempt number `attempt` of `job_id` against `target`.

    `propensity` is the probability with which this answer was drawn. `of_diet`: it is the same target, and one of the
    two calls leaves something out that the other has.
    """

    job_id: str
    target: str
    attempt: int
    propensity: float
    of_diet: bool = False


@unguarded
@dataclass(frozen=True, slots=True)
class Work:
    """A job on its way to `target` with everything that has already been tried.

    `hop` counts the hand-overs of this job: it makes a repeated hand-over recognisable, and a new one distinct.
    With a `shadow` it ends in a label and a line of accounts, and in no result. `intake` is how the job's own message
    was taken in, `near` what the semantic cache had nearest then, `assigned` the arm of an experiment it is in.
    """

    job: Job
    target: str
    reason: Reason
    hop: int = 0
    attempts: tuple[Attempt, ...] = ()
    shadow: Shadow | None = None
    intake: Hop | None = None
    near: Near | None = None
    assigned: Assignment | None = None

    @property
    def ref(self) -> JobRef:
        return self.job.ref


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that holds no job and no work. `job_id` is the best id known to answer it under.

    `is_comparison`: it was meant as a comparison with an answer already delivered, so nobody waits for it.
    """

    job_id: str
    tenant: str
    lane: Lane
    problem: Problem
    body: bytes
    is_comparison: bool = False

    @property
    def ref(self) -> JobRef:
        return JobRef(self.tenant, self.job_id, self.lane)


@dataclass(frozen=True, slots=True)
class Sealed(Malformed):
    """A message that nobody has read yet, because reading it may crash the reader; it is named without reading it.

    `arrived` belongs to the queue that took it; nobody else looks inside.
    """

    arrived: object = field(default=None, compare=False, repr=False)


Outbound = Work | Result | LedgerEntry | DeadLetter | Feedback | Start | Content
"""The messages that a dispatcher stores with the broker."""
