"""Sends off every step of a dispatcher: stores what follows and only then settles the delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet import faults
from fleet.dispatch.containment import contained, fields_of
from fleet.dispatch.patience import insist
from fleet.dispatch.spans import Spans
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.state import FleetState
from fleet.dispatch.transition import unstorable
from fleet.logs import get_logger
from fleet.model.delivery import Ack, Committed, JobsOf, NotSettled, Transition, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result, Work
from fleet.ports import Clock, JobQueue, Recorder

log = get_logger(__name__)


INTAKE_POINTS = ("intake.decided", "intake.acked")
RUNNER_POINTS = ("runner.judged", "runner.acked")
"""The fault points before and after a commit."""


class Outbox:
    """Commits transitions, and tells the traffic, the leases and the trace about the outcome."""

    def __init__(
        self,
        queue: JobQueue,
        clock: Clock,
        state: FleetState,
        leases: Leases,
        spans: Spans,
        recorder: Recorder | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._state = state
        self._leases = leases
        self._spans = spans
        self._recorder = recorder

    async def send(self, transitions: Sequence[Transition], patience_seconds: float = 0.0) -> None:
        """Commit the transitions, and end the leases of their deliveries here.

        If the broker does not confirm, retry for `patience_seconds` with the same ids. After that nothing is settled,
        and the deliveries come back when their lease ends, as they do after a bug.
        """
        if not transitions:
            return
        deliveries = [each.settlement.delivery for each in transitions]
        try:
            with contained("step_failed", outage="step_not_confirmed", jobs=len(transitions)):
                sent, committed = await self._commit(transitions, patience_seconds)
                if not _is_of_intake(transitions[0]):
                    self._note_moved(sent)
                self._state.announce()
                self._tell(sent, committed)
        finally:
            self._leases.release(deliveries)
            if _is_of_intake(transitions[0]):
                self._note_sent(transitions)

    async def _commit(
        self, transitions: Sequence[Transition], patience_seconds: float
    ) -> tuple[Sequence[Transition], Sequence[Committed]]:
        """Commit every transition; a job whose message is refused for good fails, alone.

        Return what was committed, and the outcome of each.
        """
        decided, acked = INTAKE_POINTS if _is_of_intake(transitions[0]) else RUNNER_POINTS
        faults.point(decided)
        committed = await self._insist(transitions, patience_seconds)
        for transition, each in zip(transitions, committed, strict=True):
            if each.refused or each.repeated:
                _log_oddities(transition, each)
        if refused := [each for each, made in zip(transitions, committed, strict=True) if not made.settled]:
            now = self._clock.now()
            failed = [unstorable(each.delivery, now) for each in refused]
            pairs = zip(failed, await self._insist(failed, patience_seconds), strict=True)
            made = {id(each): pair for each, pair in zip(refused, pairs, strict=True)}
            sent = [made.get(id(each), (each, done)) for each, done in zip(transitions, committed, strict=True)]
            transitions, committed = [each for each, _ in sent], [done for _, done in sent]
        faults.point(acked)
        return transitions, committed

    async def _insist(self, transitions: Sequence[Transition], patience_seconds: float) -> Sequence[Committed]:
        """Commit, retrying while the broker is away. What is stored is not sent again: it may be large."""
        stored: Sequence[Committed] = ()
        tries = 0

        async def commit() -> Sequence[Committed]:
            nonlocal stored, tries
            tries += 1
            if not stored:
                try:
                    return _own(await self._queue.commit(transitions), tries)
                except NotSettled as error:
                    stored = _own(error.committed, tries)
                    raise
            pairs = zip(transitions, stored, strict=True)
            await self._queue.settle([each.settlement for each, made in pairs if made.settled])
            return stored

        try:
            return await insist(commit, patience_seconds)
        except QueueUnavailable:
            if stored:  # whoever takes the deliveries next finds everything there
                self._tell(transitions, stored)
            raise

    def _note_moved(self, transitions: Sequence[Transition]) -> None:
        """Tell the traffic what left a target and what moves on to another. Intake does its own counting."""
        handed_over = self._state.traffic.handed_over
        for transition in transitions:
            settlement = transition.settlement
            source = settlement.delivery.source
            if isinstance(settlement, Ack) and isinstance(source, WorkOf):
                if not settlement.delivery.is_direct:
                    handed_over(source, settlement.delivery.body.ref.tenant, -1)
                for each in transition.everything:
                    if isinstance(each, Work):
                        handed_over(WorkOf(each.target, each.job.lane), each.job.tenant)

    def _note_sent(self, transitions: Sequence[Transition]) -> None:
        """Tell the traffic what intake has handed over: the next reading includes it, if it is stored."""
        for transition in transitions:
            for each in transition.everything:
                if isinstance(each, Work):
                    self._state.traffic.sent(WorkOf(each.target, each.job.lane), each.job.tenant)

    def _tell(self, transitions: Sequence[Transition], committed: Sequence[Committed]) -> None:
        steps = list(zip(transitions, committed, strict=True))
        exported = [self._spans.stored(*step) for step in steps]
        if self._recorder is not None:
            self._recorder.committed(steps, exported, self._clock.now())
        for transition in transitions:
            for each in transition.outbound:
                if isinstance(each, Result) and each.answer is None:
                    log.info("job_ended_without_answer", reason=each.reason.value, **_fields(transition))


def _own(committed: Sequence[Committed], tries: int) -> Sequence[Committed]:
    """Return the outcomes of this try; what was there already is what an unconfirmed try of ours has stored."""
    return committed if tries == 1 else [replace(each, repeated=()) for each in committed]


def _log_oddities(transition: Transition, committed: Committed) -> None:
    for refused in committed.refused:
        log.error("letter_refused", kind=type(refused).__name__, **_fields(transition))
    if any(isinstance(each, Result) for each in committed.repeated):
        log.info("second_result_refused", **_fields(transition))


def _is_of_intake(transition: Transition) -> bool:
    """Return whether intake made the step, by its delivery's source. All steps sent together have the same kind."""
    return isinstance(transition.settlement.delivery.source, JobsOf)


def _fields(transition: Transition) -> dict[str, str]:
    return fields_of(transition.delivery)
