"""Records of paid calls, stored before the calls are made, so that a crash in between costs at most one charge more.

For every attempt at a target that charges for calls, the record of call 1 is stored before the call. If that record
exists already, a dispatcher began the attempt and died or lost its lease; nobody knows whether it was charged. Unless
the job has its result by now, the call is made once more, alone (see `fleet.dispatch.runner.paid`), under the record
of call 2, and the attempt says that it is a repetition. If that record exists as well, the attempt has failed: it is
`interrupted`, and the job continues without this target.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.patience import ANSWER_SECONDS, insist
from fleet.dispatch.runner.call import attempt_of
from fleet.dispatch.transition import on_record
from fleet.logs import get_logger
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Ack, Stored, Transition
from fleet.model.result import Start
from fleet.model.target import Target
from fleet.ports import Clock, JobQueue
from policies.budget import is_charged

log = get_logger(__name__)

INTERRUPTED = Failure(FailureKind.INTERRUPTED, "began twice, and both times its dispatcher died or lost it")

Answered = Callable[[Sequence[InFlightJob]], Awaitable[Sequence[bool]]]
"""Returns which of the given jobs have their result already. Raises QueueUnavailable."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Jobs by what the record says about their calls that were about to be made."""

    may_call: list[InFlightJob]
    """Jobs whose call is on record now and may be made."""
    begun_before: list[InFlightJob] = field(default_factory=list)
    """Jobs whose call was begun once before and may be repeated."""
    exhausted: list[InFlightJob] = field(default_factory=list)
    """Jobs whose call was begun twice and finished neither time."""
    answered: list[InFlightJob] = field(default_factory=list)
    """Jobs that have their result: nothing is left to do for them."""
    answered_late: list[InFlightJob] = field(default_factory=list)
    """Jobs that have their result although a second call was begun, which the ledger may not know."""


class IntentLog:
    """The records of one dispatcher's paid calls at one target. `repeated` and `interrupted` count attempts."""

    def __init__(self, target: Target, queue: JobQueue, clock: Clock, answered: Answered) -> None:
        self._target = target
        self._queue = queue
        self._clock = clock
        self._answered = answered
        self.repeated = 0
        self.interrupted = 0

    async def begin(self, jobs: list[InFlightJob]) -> Recorded:
        """Record the calls. Raises QueueUnavailable, and then none may be made."""
        if not jobs or not is_charged(self._target):
            return Recorded(jobs)
        new, before = await self.record(jobs, 1)
        return replace(await self._unanswered(before), may_call=new)

    async def repeat(self, jobs: list[InFlightJob]) -> Recorded:
        """Record the second calls, after checking again for results, as time has passed. Raises QueueUnavailable."""
        found = await self._unanswered(jobs)
        again, exhausted = await self.record(found.begun_before, 2)
        self.repeated += len(again)
        self.interrupted += len(exhausted) + len(found.answered_late)
        log.warning(
            "paid_calls_begun_before",
            target=self._target.name,
            repeated=len(again),
            given_up=len(exhausted),
            repeated_in_all=self.repeated,
            interrupted_in_all=self.interrupted,
        )
        may_call = [replace(each, repeated=True) for each in again]
        return replace(found, may_call=may_call, begun_before=[], exhausted=exhausted)

    async def close(self, jobs: list[InFlightJob]) -> list[Transition]:
        """Prevent second calls for jobs that have their result; return the transitions that end the jobs."""
        if not jobs:
            return []
        answered, late = jobs, list[InFlightJob]()
        if is_charged(self._target):
            with contained(
                "paid_calls_not_closed", outage="paid_calls_not_closed", target=self._target.name, jobs=len(jobs)
            ):
                answered, late = await self.record(jobs, 2)
        return self.closing(answered, late)

    def closing(self, answered: Sequence[InFlightJob], late: Sequence[InFlightJob]) -> list[Transition]:
        """Return the transitions of jobs that have their result; second calls that were begun go into the ledger."""
        now = self._clock.now()
        never_made = MicroBatch(now)
        noted = [
            on_record(each.after(attempt_of(each, self._target, INTERRUPTED, never_made, now)), now) for each in late
        ]
        return [*noted, *(Transition((), Ack(each.delivery)) for each in answered)]

    async def _unanswered(self, before: list[InFlightJob]) -> Recorded:
        """Look up results of jobs begun `before`, by a dispatcher that died, lost its lease or its acknowledgement."""
        if not before:
            return Recorded([])
        found = list(zip(before, await insist(lambda: self._answered(before), ANSWER_SECONDS), strict=True))
        # Record these as well: nobody makes the call then, and an existing record shows that somebody began it.
        answered, late = await self.record([each for each, has_result in found if has_result], 2)
        unanswered = [each for each, has_result in found if not has_result]
        return Recorded([], unanswered, answered=answered, answered_late=late)

    async def record(self, jobs: Sequence[InFlightJob], call: int) -> tuple[list[InFlightJob], list[InFlightJob]]:
        """Record the calls; return those recorded now and those with an older record. Raises QueueUnavailable."""
        if not jobs:
            return [], []
        # Made once: an outage must not turn our own record into somebody else's.
        intents = [self._intent(each, call) for each in jobs]
        stored = await insist(lambda: self._queue.publish(intents), ANSWER_SECONDS)
        pairs = list(zip(jobs, stored, strict=True))
        new = [each for each, found in pairs if found is Stored.NEW]
        return new, [each for each, found in pairs if found is not Stored.NEW]

    def _intent(self, inflight: InFlightJob, call: int) -> Start:
        number, by = len(inflight.attempts) + 1, secrets.token_hex(8)
        return Start(inflight.job.id, inflight.job.tenant, number, call, self._target.name, self._clock.now(), by)
