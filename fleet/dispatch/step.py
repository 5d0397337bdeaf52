"""The one step every delivery takes: an action becomes what is published next and how the delivery is settled.

Pure: it carries out a decision on paper; `Office.send` sends it off.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.action import Action, Finish, GiveUp, Run, Wait
from fleet.model.attempt import Answer, Attempt
from fleet.model.calibration import Probe
from fleet.model.delivery import Ack, AnyDelivery, Retry, Settlement
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Job, Lane
from fleet.model.money import Deposit
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Letter, Malformed, Problem, Result, Shadow, Status, Work
from policies.shadow import Comparison, kept_comparison


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from one decision. The letters are stored before the delivery is settled."""

    letters: tuple[Letter, ...]
    settlement: Settlement


@dataclass(frozen=True, slots=True)
class Case:
    """A job in hand: its delivery and everything tried so far, `fresh` of it in this very step.

    `reason` is why it is about to run, once that is decided, and `probe` that it is only a second look. With a
    `shadow` the job has its result, and only a comparison is still to be made. `deposit` is the money set aside for
    the run, where the fleet pays for it; `repeated` says that another dispatcher began this paid call before.
    """

    delivery: AnyDelivery
    job: Job
    attempts: tuple[Attempt, ...] = ()
    fresh: Attempt | None = None
    hop: int = 0
    reason: Reason = Reason.ROUTED
    probe: Probe | None = None
    shadow: Shadow | None = None
    deposit: Deposit | None = None
    repeated: bool = False

    @property
    def call_id(self) -> str:
        """No other tenant's job has it."""
        return f"{self.job.tenant}.{self.job.id}"

    @staticmethod
    def of_job(delivery: AnyDelivery, job: Job) -> Case:
        return Case(delivery, job)

    @staticmethod
    def of_work(delivery: AnyDelivery, work: Work) -> Case:
        return Case(delivery, work.job, work.attempts, hop=work.hop + 1, shadow=work.shadow)

    def after(self, attempt: Attempt) -> Case:
        return Case(self.delivery, self.job, (*self.attempts, attempt), attempt, self.hop, shadow=self.shadow)

    def about_to_run(self, run: Run) -> Case:
        # For a job from WORK: what only a job that runs has, it cannot have yet. `replace` takes three times as long.
        return Case(self.delivery, self.job, self.attempts, self.fresh, self.hop, run.reason, run.probe, self.shadow)


def carry_out(case: Case, action: Action, now: float) -> Step:
    """The step that does what `action` says.

    What goes on record comes before what follows from it: a crash in between must not leave a result without its
    line in the ledger, for nothing is repeated for a job that has its result.
    """
    match action:
        case Run():
            return _hand_over(case, action.target, action.reason, now)
        case Wait():
            return put_off(case, action, now)
        case Finish() if case.shadow is not None:
            return _compared(case, case.shadow, now)
        case GiveUp() if case.shadow is not None:
            return Step(() if case.fresh is None else (_entry(case, action.reason, None, now),), Ack(case.delivery))
        case Finish():
            return _end(case, _finished(case, action, now), action.reason, now)
        case GiveUp():
            step = _end(case, _given_up(case, action, now), action.reason, now)
            return _with_dead_letter(step, case, action, now) if action.dead else step


def put_off(case: Case, wait: Wait, now: float, anew: bool = False) -> Step:
    """The step of a job that waits: where it is, or with `anew` in a new message."""
    # A fresh attempt must outlive this process before the wait begins, so it travels in a new message as well.
    if case.fresh is not None or anew:
        return _hand_over(case, wait.target, wait.reason, now)
    return Step((), Retry(case.delivery, wait.seconds))


def on_record(case: Case, now: float) -> Step:
    """The step for a job that has its result already: only its line in the ledger is left to write."""
    return Step((_entry(case, case.reason, None, now),), Ack(case.delivery))


def reject(delivery: AnyDelivery, bad: Malformed, now: float) -> Step:
    """The step for a message that is no job: a rejected result, a dead letter, a line of accounts."""
    result = Result(bad.job_id, bad.tenant, Status.REJECTED, Reason.INVALID, now, problem=bad.problem)
    dead = DeadLetter(bad.tenant, bad.job_id, Reason.INVALID, bad.problem, bad.body, now, bad.lane)
    entry = LedgerEntry(bad.job_id, bad.tenant, bad.lane, now, Reason.INVALID, status=Status.REJECTED)
    return Step((result, dead, entry), Ack(delivery))


def unreadable(delivery: AnyDelivery, bad: Malformed, retry_seconds: float | None, now: float) -> Step:
    """The step for work of our own that cannot be read: tried again, or failed once that has been tried enough.

    A comparison just ends: its job has its result, and its id is one that nobody has submitted.
    """
    if retry_seconds is not None:
        return Step((), Retry(delivery, retry_seconds))
    if bad.is_comparison:
        return Step((), Ack(delivery))
    return _fail(delivery, bad.job_id, bad.tenant, bad.lane, bad.problem, now)


def failing(delivery: AnyDelivery, error: BaseException | None, now: float) -> Step:
    """The step for what hit a bug of ours, whatever is known of it; without an error, for what crashes who reads it."""
    match delivery.body:
        case Malformed() as bad:
            return Step((), Ack(delivery)) if bad.is_comparison else _unread(delivery, bad, error, now)
        case Work() as work:
            return broken(Case.of_work(delivery, work), error, now)
        case Job() as job:
            return broken(Case.of_job(delivery, job), error, now)


def _unread(delivery: AnyDelivery, bad: Malformed, error: BaseException | None, now: float) -> Step:
    if error is not None:
        problem = Problem(f"internal error: {type(error).__name__}")
        return _fail(delivery, bad.job_id, bad.tenant, bad.lane, problem, now)
    problem = Problem(f"handed out {delivery.deliveries} times, and whoever read it crashed")
    return _fail(delivery, bad.job_id, bad.tenant, bad.lane, problem, now, Reason.TOO_MANY_DELIVERIES)


def unstorable(delivery: AnyDelivery, now: float) -> Step:
    """The step for a job one of whose letters the broker refuses for good, too large perhaps."""
    if isinstance(delivery.body, Work) and delivery.body.shadow is not None:
        return Step((), Ack(delivery))
    problem = Problem("a message of this job was refused by the broker")
    body = delivery.body
    job = body.job if isinstance(body, Work) else body
    job_id = job.job_id if isinstance(job, Malformed) else job.id
    return _fail(delivery, job_id, job.tenant, job.lane, problem, now)


def _fail(
    delivery: AnyDelivery,
    job_id: str,
    tenant: str,
    lane: Lane,
    problem: Problem,
    now: float,
    reason: Reason = Reason.INTERNAL_ERROR,
) -> Step:
    result = Result(job_id, tenant, Status.FAILED, reason, now, problem=problem)
    dead = DeadLetter(tenant, job_id, reason, problem, delivery.raw, now, lane)
    return Step((result, dead, LedgerEntry(job_id, tenant, lane, now, reason, status=Status.FAILED)), Ack(delivery))


def broken(case: Case, error: BaseException | None, now: float) -> Step:
    """The step for a job that hit a bug of ours: it fails alone, and is kept for whoever mends the bug."""
    problem = Problem(f"internal error: {type(error).__name__}")
    return carry_out(case, GiveUp(Status.FAILED, Reason.INTERNAL_ERROR, problem, dead=True), now)


def _hand_over(case: Case, target: str, reason: Reason, now: float) -> Step:
    work = Work(case.job, target, reason, case.hop, case.attempts, case.shadow)
    if case.fresh is None:
        return Step((work,), Ack(case.delivery))
    return Step((_entry(case, reason, None, now), work), Ack(case.delivery))


def _end(case: Case, result: Result, reason: Reason, now: float) -> Step:
    return Step((_entry(case, reason, result.status, now), result), Ack(case.delivery))


def _entry(case: Case, reason: Reason, status: Status | None, now: float) -> LedgerEntry:
    job = case.job
    job_id = job.id if case.shadow is None else case.shadow.job_id
    return LedgerEntry(job_id, job.tenant, job.lane, now, reason, job.task, job.plan, status, case.fresh)


def _finished(case: Case, action: Finish, now: float) -> Result:
    attempt = case.attempts[action.attempt - 1]
    if not isinstance(attempt.outcome, Answer):
        raise TypeError(f"attempt {action.attempt} has no answer to finish with")
    return _result(case, action.status, action.reason, now, delivered=attempt, answer=attempt.outcome)


def _compared(case: Case, shadow: Shadow, now: float) -> Step:
    """The end of a comparison: a label for the answer that was kept, where words can tell, and its line of accounts."""
    found = kept_comparison(shadow, case.attempts)
    labels = () if found is None else (label(case.job.tenant, shadow.job_id, found, now),)
    return Step((*labels, _entry(case, Reason.SHADOW, None, now)), Ack(case.delivery))


def label(tenant: str, job_id: str, found: Comparison, now: float) -> Feedback:
    """What a comparison says, in the words feedback is kept in."""
    verdict = Verdict.GOOD if found.good else Verdict.BAD
    return Feedback(
        job_id,
        tenant,
        verdict,
        now,
        Witness.SHADOW,
        target=found.attempt.target,
        propensity=found.propensity,
        id=f"shadow-{job_id}-{found.attempt.number}",
    )


def _given_up(case: Case, action: GiveUp, now: float) -> Result:
    return _result(case, action.status, action.reason, now, problem=action.problem)


def _result(
    case: Case,
    status: Status,
    reason: Reason,
    now: float,
    delivered: Attempt | None = None,
    answer: Answer | None = None,
    problem: Problem | None = None,
) -> Result:
    job = case.job
    return Result(
        job.id,
        job.tenant,
        status,
        reason,
        now,
        task=job.task,
        submitted_at=job.submitted_at,
        answer=answer,
        target=None if delivered is None else delivered.target,
        confidence=None if delivered is None else delivered.confidence,
        attempts=case.attempts,
        problem=problem,
        metadata=job.metadata,
    )


def _with_dead_letter(step: Step, case: Case, action: GiveUp, now: float) -> Step:
    job = case.job
    dead = DeadLetter(job.tenant, job.id, action.reason, action.problem, case.delivery.raw, now, job.lane)
    return Step((dead, *step.letters), step.settlement)
