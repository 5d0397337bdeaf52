"""What intake and runners share, and the one way a step leaves the dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from fleet import faults
from fleet.dispatch.comparing import with_comparisons
from fleet.dispatch.isolation import Isolation
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.dispatch.patience import insist
from fleet.dispatch.runner.till import Till
from fleet.dispatch.spans import Spans
from fleet.dispatch.state.knowledge import Knowledge
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.peers import Peers
from fleet.dispatch.state.state import FleetState
from fleet.dispatch.step import Case, Step, broken, carry_out, failing, put_off, unreadable, unstorable
from fleet.interruption import raise_own
from fleet.model.action import Action, Finish, Wait
from fleet.model.delivery import Ack, AnyDelivery, JobsOf, Post, Stored, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.feedback import Feedback
from fleet.model.result import Letter, Malformed, Result, Work
from fleet.model.view import View
from fleet.ports import Clock, JobQueue
from policies import shadow
from policies.plan import next_action
from policies.resilience.cancellation import CANCELLED
from policies.resilience.deadline import deadline_at
from policies.resilience.delivery import enough, starts_anew, unreadable_again_in
from policies.rules.rules import Rules

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Errand:
    """A step on its way out, with the trace it belongs to."""

    step: Step
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Office:
    """The collaborators of one dispatcher."""

    queue: JobQueue
    rules: Rules
    clock: Clock
    state: FleetState
    spans: Spans
    leases: Leases
    till: Till
    knowledge: Knowledge
    cancelling: Cancelling
    peers: Peers
    isolation: Isolation = field(default_factory=Isolation)

    def look(self, case: Case, view: View, now: float) -> Action | Exception:
        """What to do next with the job in hand; the exception where a bug of ours is in the way."""
        try:
            action = self.decide(case, view, now)
            return enough(action, case.delivery.deliveries, case.job, case.attempts, self.rules) or action
        except Exception as error:  # a bug met by one job must not stop its neighbours
            log.exception("decision_failed", **job_fields(case.delivery, case.delivery.traceparent))
            return error

    def guarded(self, place: Callable[[AnyDelivery], Errand | None], delivery: AnyDelivery) -> Errand | None:
        """What follows where `place` has decided; a bug met by one message must not take those beside it along."""
        try:
            return place(delivery)
        except BaseException as error:
            raise_own(error)
            log.exception("decision_failed", **job_fields(delivery, delivery.traceparent))
            return Errand(failing(delivery, error, self.clock.now()), delivery.traceparent)

    def decide(self, case: Case, view: View, now: float) -> Action:
        if self.cancelling.holds(case):
            return CANCELLED
        if case.shadow is not None:
            return shadow.next_action(case.shadow, case.job, case.attempts, view, now, self.rules)
        return next_action(case.job, case.attempts, view, now, self.rules)

    def carry_out(self, case: Case, action: Action | Exception, now: float) -> Step:
        if isinstance(action, Exception):
            return broken(case, action, now)
        if isinstance(action, Wait):
            return self._put_off(case, action, now)
        step = carry_out(case, action, now)
        if not isinstance(action, Finish):
            return step
        try:
            return self._learn(step, case, action, now)
        except Exception:  # a bug on the side must neither cost the job its answer nor stop the dispatcher
            log.exception("comparison_failed", **job_fields(case.delivery, case.delivery.traceparent))
            return step

    def _learn(self, step: Step, case: Case, action: Finish, now: float) -> Step:
        if case.shadow is not None:
            self.knowledge.compared(case)
            return step
        return with_comparisons(step, case, action, self.state.view, self.knowledge, now, self.rules)

    def _put_off(self, case: Case, wait: Wait, now: float) -> Step:
        """No wait goes on beyond the deadline: the job shall be answered then."""
        left_seconds = max(0.0, deadline_at(case.job, self.rules) - now)
        wait = replace(wait, seconds=min(wait.seconds, left_seconds))
        return put_off(case, wait, now, anew=starts_anew(wait, case.delivery.deliveries, case.job, self.rules))

    async def send(self, errands: Sequence[Errand], patience_seconds: float = 0.0) -> None:
        """Publish what comes next, then settle: in this order, so that a crash repeats a step and loses nothing.

        A broker that does not confirm is asked again for `patience_seconds`; each letter has the same id again. Then
        nothing is settled, and the deliveries come back when their lease ends.
        """
        started_at = self.clock.now()
        try:
            sent = await insist(lambda: self._publish(errands), patience_seconds)
            await insist(lambda: self._settle(sent), patience_seconds)
            self._count(sent)
            self._tell(sent, started_at)
        except QueueUnavailable as error:
            log.warning("step_not_confirmed", jobs=len(errands), error=str(error))
        except BaseException as error:  # a bug met by one step must neither stop the dispatcher nor keep its slots
            raise_own(error)
            log.exception("step_failed", jobs=len(errands))
        finally:
            self.leases.release([errand.step.settlement.delivery for errand in errands])
            self._note_sent(errands)

    def _note_sent(self, errands: Sequence[Errand]) -> None:
        """What intake hands over is in the next reading, if it is stored."""
        for errand in errands:
            if isinstance(errand.step.settlement.delivery.source, JobsOf):
                for letter in errand.step.letters:
                    if isinstance(letter, Work):
                        self.state.traffic.sent(WorkOf(letter.target, letter.job.lane), letter.job.tenant)

    def _count(self, errands: Sequence[Errand]) -> None:
        """Tell the traffic what left a target and what goes on to another. Intake counts for itself."""
        for errand in errands:
            delivery = errand.step.settlement.delivery
            if not isinstance(delivery.source, WorkOf) or not isinstance(errand.step.settlement, Ack):
                continue
            body = delivery.body
            tenant = body.job.tenant if isinstance(body, Work) else body.tenant
            self.state.traffic.handed_over(delivery.source, tenant, -1)
            for letter in errand.step.letters:
                if isinstance(letter, Work):
                    self.state.traffic.handed_over(WorkOf(letter.target, letter.job.lane), tenant)
        self.state.announce()

    async def _settle(self, errands: Sequence[Errand]) -> None:
        _, published, acked = _points(errands)
        if faults.point(published):
            return
        await self.queue.settle([errand.step.settlement for errand in errands])
        faults.point(acked)

    async def _publish(self, errands: Sequence[Errand]) -> Sequence[Errand]:
        """Store the letters of every errand. A job with one that is refused for good fails, alone."""
        faults.point(_points(errands)[0])
        refused = await self._refused(errands)
        if not refused:
            return errands
        now = self.clock.now()
        failed = {
            id(errand): Errand(unstorable(errand.step.settlement.delivery, now), errand.traceparent)
            for errand in refused
        }
        await self._refused(list(failed.values()))
        return [failed.get(id(errand), errand) for errand in errands]

    async def _refused(self, errands: Sequence[Errand]) -> list[Errand]:
        """Publish, and give back the errands that had a letter refused."""
        owners = [errand for errand in errands for _ in errand.step.letters]
        posts = [Post(letter, errand.traceparent) for errand in errands for letter in errand.step.letters]
        refused: dict[int, Errand] = {}
        for errand, post, stored in zip(owners, posts, await self.queue.publish(posts), strict=True):
            if stored is Stored.REFUSED:
                log.error("letter_refused", kind=type(post.letter).__name__, **fields_of(errand))
                if not _on_the_side(post.letter):
                    refused[id(errand)] = errand
            elif stored is Stored.REPEAT and isinstance(post.letter, Result):
                log.info("second_result_refused", **fields_of(errand))
        return list(refused.values())

    def _tell(self, errands: Sequence[Errand], started_at: float) -> None:
        ended_at = self.clock.now()
        for errand in errands:
            self.spans.published(errand.step, errand.traceparent, started_at, ended_at)
            for letter in errand.step.letters:
                if isinstance(letter, Result) and letter.answer is None:
                    log.info("job_ended_without_answer", reason=letter.reason.value, **fields_of(errand))


def _on_the_side(letter: Letter) -> bool:
    """What is only there to learn from: a job does not fail for the want of it."""
    return isinstance(letter, Feedback) or (isinstance(letter, Work) and letter.shadow is not None)


def _points(errands: Sequence[Errand]) -> tuple[str, str, str]:
    """The fault points of a step on its way out: whose it is says where its delivery came from."""
    if errands and isinstance(errands[0].step.settlement.delivery.source, JobsOf):
        return "intake.decided", "intake.published", "intake.acked"
    return "runner.judged", "runner.published", "runner.acked"


def fields_of(errand: Errand) -> dict[str, str | None]:
    """What every log line about a job carries."""
    return job_fields(errand.step.settlement.delivery, errand.traceparent)


def job_fields(delivery: AnyDelivery, traceparent: str | None) -> dict[str, str | None]:
    body = delivery.body
    job = body.job if isinstance(body, Work) else body
    job_id = job.job_id if isinstance(job, Malformed) else job.id
    trace_id = traceparent.split("-")[1] if traceparent else None
    return {"job_id": job_id, "tenant": job.tenant, "trace_id": trace_id}


def unread(delivery: AnyDelivery, now: float) -> Step:
    """The step for what came from the WORK stream and is no work."""
    if not isinstance(delivery.body, Malformed):
        raise TypeError("the WORK stream carries work only")
    bad, again_in = delivery.body, unreadable_again_in(delivery.deliveries)
    if bad.is_comparison and again_in is None:
        log.warning("comparison_unreadable", problem=bad.problem.message, **job_fields(delivery, delivery.traceparent))
    return unreadable(delivery, bad, again_in, now)
