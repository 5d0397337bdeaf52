"""Turns actions into transitions: what is stored next, and how the delivery is settled. Pure."""

from __future__ import annotations

from dataclasses import replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.model.action import Action, Finish, GiveUp, Reply, Run, Wait
from fleet.model.attempt import Answer, Attempt, Hop
from fleet.model.content import Content, answers_in
from fleet.model.delivery import Ack, AnyDelivery, JobsOf, Retry, Transition
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Job, JobRef
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Malformed, Outbound, Problem, Result, Shadow, Status, Work
from fleet.model.target import SEMANTIC
from policies.resilience.deadline import deadline_at
from policies.resilience.delivery import starts_anew, unreadable_again_in
from policies.rules.rules import Rules
from policies.shadow import Comparison, kept_comparison


def transition_for(inflight: InFlightJob, action: Action, now: float, rules: Rules) -> Transition:
    """Return the transition that does what `action` says.

    Ledger entries are stored before what follows from them: a crash in between must not leave a result without its
    line in the ledger, since nothing is repeated for a job that has its result.
    """
    match action:
        case Run():
            return handed_over(inflight, action.target, action.reason, now)
        case Wait():
            return _defer(inflight, action, now, rules)
        case Finish() if inflight.shadow is not None:
            return _compared(inflight, inflight.shadow, now, rules)
        case GiveUp() if inflight.shadow is not None:
            entries = () if inflight.fresh is None else (_entry(inflight, action.reason, None, now),)
            return _acknowledged(inflight, entries)
        case Finish():
            result = _finished(inflight, action, now)
            content = _content(inflight.job, result, rules)
            return replace(_acknowledged(inflight, _ended(inflight, result, now)), aside=content)
        case Reply():
            answered = answered_by(inflight, action, now)
            return transition_for(answered, Finish(len(answered.attempts), Status.SUCCEEDED, action.reason), now, rules)
        case GiveUp():
            ended = _ended(inflight, _given_up(inflight, action, now), now)
            return _acknowledged(inflight, (_dead(inflight, action, now), *ended) if action.dead else ended)


def answered_by(inflight: InFlightJob, reply: Reply, now: float) -> InFlightJob:
    """Return the job with the attempt that an answer without a call counts as: it takes no time and costs nothing."""
    number, cached = len(inflight.attempts) + 1, reply.cached
    told = (number, reply.target, reply.reason, now, now, reply.answer)
    return inflight.after(Attempt(*told, cached=cached, avoided=reply.avoided, near=reply.near))


def _content(job: Job, result: Result, rules: Rules) -> tuple[Content, ...]:
    """Return what was asked and answered, if the rule of the task collects that."""
    if result.answer is None or not _is_collected(job, rules):
        return ()
    told = (result.finished_at, job.request, result.answer.message, result.target, job.person)
    answers = answers_in(result.attempts, result.answer)
    return (Content(job.id, job.tenant, job.task, *told, str(result.status), answers),)


def _is_collected(job: Job, rules: Rules) -> bool:
    task = rules.tasks.get(job.task)
    return task is not None and task.collect


def _acknowledged(inflight: InFlightJob, outbound: tuple[Outbound, ...]) -> Transition:
    return Transition(outbound, Ack(inflight.delivery), inflight.delivery.traceparent)


def handed_over(inflight: InFlightJob, target: str, reason: Reason, now: float) -> Transition:
    """Return the transition of a job that continues in a new message, at this or another target."""
    intake, job = _intake(inflight, now), inflight.submitted or inflight.job
    carried = (inflight.hop, inflight.attempts, inflight.shadow, intake, inflight.near, inflight.assigned)
    work = Work(job, target, reason, *carried)
    if inflight.fresh is None:
        return _acknowledged(inflight, (work,))
    return _acknowledged(inflight, (_entry(inflight, reason, None, now), work))


def _defer(inflight: InFlightJob, wait: Wait, now: float, rules: Rules) -> Transition:
    """Return the job's wait, where it is or in a new message, until its deadline at most: it is answered then."""
    delivery, job = inflight.delivery, inflight.job
    seconds = min(wait.seconds, max(0.0, deadline_at(job, rules) - now))
    # A fresh attempt must outlive this process before the wait begins, so it travels in a new message as well. A direct
    # job waits where work waits: in its tenant's queue it would come up for a first decision again.
    if inflight.fresh is not None or delivery.is_direct or starts_anew(wait, delivery.deliveries, job, rules):
        return handed_over(inflight, wait.target, wait.reason, now)
    return Transition((), Retry(delivery, seconds), delivery.traceparent)


def on_record(inflight: InFlightJob, now: float) -> Transition:
    """Return the transition of a job that has its result already: only its ledger line is left to write."""
    return _acknowledged(inflight, (_entry(inflight, inflight.reason, None, now),))


def _ended(inflight: InFlightJob, result: Result, now: float) -> tuple[Outbound, ...]:
    """Return the job's last lines and its result.

    Where another target's answer is delivered than that of the last attempt, the end has a line of its own: whoever
    counts what ended by target must not count it for the wrong one.
    """
    fresh = inflight.fresh
    ended = _entry(inflight, result.reason, result.status, now)
    if fresh is None:
        return replace(ended, target=result.target), result
    if result.target in (None, fresh.target):
        return ended, result
    return replace(ended, status=None), replace(ended, attempt=None, target=result.target), result


def _entry(inflight: InFlightJob, reason: Reason, status: Status | None, now: float) -> LedgerEntry:
    job, shadow = inflight.job, inflight.shadow
    told = (job.tenant, job.lane, now, reason, job.task, str(job.plan), status, inflight.fresh)
    traceparent, person = inflight.delivery.traceparent, job.person
    if shadow is not None:
        return LedgerEntry(shadow.job_id, *told, traceparent=traceparent, person=person)
    known = (job.submitted_at, traceparent, _intake(inflight, now), person)
    return LedgerEntry(job.id, *told, *known, assigned=inflight.assigned)


def _intake(inflight: InFlightJob, now: float) -> Hop | None:
    """Return how the job's own message was taken in; a job that has just come in is taken now."""
    return _taken_in(inflight.delivery, now) if inflight.intake is None else inflight.intake


def _taken_in(delivery: AnyDelivery, now: float) -> Hop | None:
    if not isinstance(delivery.source, JobsOf):
        return None
    return Hop(delivery.stored_at, now, delivery.deliveries)


def _dead(inflight: InFlightJob, action: GiveUp, now: float) -> DeadLetter:
    job, raw = inflight.job, inflight.delivery.raw
    return DeadLetter(job.tenant, job.id, action.reason, action.problem, raw, now, job.lane)


def _finished(inflight: InFlightJob, action: Finish, now: float) -> Result:
    attempt = inflight.attempts[action.attempt - 1]
    if not isinstance(attempt.outcome, Answer):
        raise TypeError(f"attempt {action.attempt} has no answer to finish with")
    return _result(inflight, action.status, action.reason, now, delivered=attempt, answer=attempt.outcome)


def _given_up(inflight: InFlightJob, action: GiveUp, now: float) -> Result:
    return _result(inflight, action.status, action.reason, now, problem=action.problem)


def _result(
    inflight: InFlightJob,
    status: Status,
    reason: Reason,
    now: float,
    delivered: Attempt | None = None,
    answer: Answer | None = None,
    problem: Problem | None = None,
) -> Result:
    job = inflight.job
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
        attempts=inflight.attempts,
        problem=problem,
        metadata=job.metadata,
    )


def _compared(inflight: InFlightJob, shadow: Shadow, now: float, rules: Rules) -> Transition:
    """Return the end of a comparison: its ledger line, and what is learnt from it.

    That is a label for the kept answer, if the comparison can tell, and the content with the other answer, if the rule
    of the task collects that. The label of an answer of the semantic cache is in the line itself.
    """
    is_cached = inflight.attempts[shadow.attempt - 1].target == SEMANTIC
    found = None if is_cached else kept_comparison(shadow, inflight.attempts)
    labels = () if found is None else (label(inflight.job.tenant, shadow.job_id, found, now),)
    content = _compared_content(inflight, shadow, rules)
    ended = _acknowledged(inflight, (_entry(inflight, Reason.SHADOW, None, now),))
    return replace(ended, aside=(*labels, *content))


def _compared_content(inflight: InFlightJob, shadow: Shadow, rules: Rules) -> tuple[Content, ...]:
    """Return the content of the job again, with the answer it was compared with; its time is the kept answer's.

    Whoever was erased since then is left out by that time.
    """
    job, kept = inflight.job, inflight.attempts[shadow.attempt - 1]
    if not isinstance(kept.outcome, Answer) or not _is_collected(job, rules):
        return ()
    told = (kept.ended_at, job.request, kept.outcome.message, kept.target, job.person)
    answers = answers_in(inflight.attempts, kept.outcome)
    return (Content(shadow.job_id, job.tenant, job.task, *told, str(Status.SUCCEEDED), answers),)


def label(tenant: str, job_id: str, found: Comparison, now: float) -> Feedback:
    """Return the outcome of a comparison as feedback."""
    return Feedback(
        job_id,
        tenant,
        Verdict.GOOD if found.good else Verdict.BAD,
        now,
        Witness.SHADOW,
        target=found.attempt.target,
        propensity=found.propensity,
        id=f"shadow-{job_id}-{found.attempt.number}",
    )


def turned_down(delivery: AnyDelivery, bad: Malformed, now: float) -> Transition:
    """Return the transition of a message that holds no job. A publisher's message is rejected.

    Our own work is retried, perhaps by a newer dispatcher, and fails after enough tries. A comparison then just ends:
    its job has its result, and nobody submitted its id.
    """
    if isinstance(delivery.source, JobsOf):
        return _ended_unread(delivery, Status.REJECTED, Reason.INVALID, bad.problem, bad.body, now)
    again_in = unreadable_again_in(delivery.deliveries)
    if again_in is not None:
        return Transition((), Retry(delivery, again_in), delivery.traceparent)
    return _failed_unread(delivery, Reason.INTERNAL_ERROR, bad.problem, now)


def internal_error(error: BaseException) -> GiveUp:
    """Return the end of a job that hit a bug of ours: it fails alone, and is kept for those who fix the bug."""
    return GiveUp(Status.FAILED, Reason.INTERNAL_ERROR, _bug(error), dead=True)


def failing(delivery: AnyDelivery, error: BaseException, now: float, rules: Rules) -> Transition:
    """Return the transition of a message that hit a bug of ours, whether or not its job is known."""
    if isinstance(delivery.body, Malformed):
        return _failed_unread(delivery, Reason.INTERNAL_ERROR, _bug(error), now)
    return transition_for(InFlightJob.of(delivery), internal_error(error), now, rules)


def deadly(delivery: AnyDelivery, now: float) -> Transition:
    """Return the transition of a message that crashes its readers."""
    problem = Problem(f"handed out {delivery.deliveries} times, and whoever read it crashed")
    return _failed_unread(delivery, Reason.TOO_MANY_DELIVERIES, problem, now)


def unstorable(delivery: AnyDelivery, now: float) -> Transition:
    """Return the transition of a job of which the broker refuses a message for good, perhaps as it is too large."""
    return _failed_unread(
        delivery, Reason.INTERNAL_ERROR, Problem("a message of this job was refused by the broker"), now
    )


def _failed_unread(delivery: AnyDelivery, reason: Reason, problem: Problem, now: float) -> Transition:
    """Return the failure of a message of which only the job's name is known; a comparison ends silently."""
    if _is_comparison(delivery):
        return Transition((), Ack(delivery), delivery.traceparent)
    return _ended_unread(delivery, Status.FAILED, reason, problem, delivery.raw, now)


def _ended_unread(
    delivery: AnyDelivery, status: Status, reason: Reason, problem: Problem, body: bytes, now: float
) -> Transition:
    """Return a transition that stores a result, a dead letter and a ledger line."""
    ref: JobRef = delivery.body.ref
    result = Result(ref.id, ref.tenant, status, reason, now, problem=problem)
    dead = DeadLetter(ref.tenant, ref.id, reason, problem, body, now, ref.lane)
    intake = _taken_in(delivery, now)
    entry = LedgerEntry(
        ref.id,
        ref.tenant,
        ref.lane,
        now,
        reason,
        status=status,
        submitted_at=None if intake is None else intake.stored_at,
        traceparent=delivery.traceparent,
        intake=intake,
    )
    return Transition((result, dead, entry), Ack(delivery), delivery.traceparent)


def _is_comparison(delivery: AnyDelivery) -> bool:
    body = delivery.body
    return body.is_comparison if isinstance(body, Malformed) else isinstance(body, Work) and body.shadow is not None


def _bug(error: BaseException) -> Problem:
    return Problem(f"internal error: {type(error).__name__}")
