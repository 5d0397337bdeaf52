"""Paid calls are recorded before they are made, so that a crash in between costs at most one charge more.

Of every attempt at a target that charges for calls, the record of call 1 is stored before the call. Where it was
stored before, a dispatcher began the attempt and died, or lost its lease; whether it was charged nobody knows. Unless
the job has its result by now, the call is made once more, alone (see `fleet.dispatch.runner.paid`), under the record
of call 2, and the attempt says that it is a repetition. Where that was stored before as well, the attempt has failed:
it is `interrupted`, and the job goes on without this target.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from fleet.dispatch.patience import ANSWER_SECONDS, insist
from fleet.dispatch.step import Case
from fleet.model.attempt import Failure, FailureKind
from fleet.model.delivery import Post, Stored
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Start
from fleet.model.target import Target
from fleet.ports import Clock, JobQueue
from policies.budget import is_charged

log = structlog.get_logger(__name__)

INTERRUPTED = Failure(FailureKind.INTERRUPTED, "began twice, and both times its dispatcher died or lost it")

Answered = Callable[[Sequence[Case]], Awaitable[Sequence[bool]]]
"""Which of these jobs have their result already. Raises QueueUnavailable."""


@dataclass(frozen=True, slots=True)
class Begun:
    """`calls` may be made now; those `before` were begun once and may be repeated; `twice` never finished either time.

    Nothing is left to do for `ended`, whose jobs have their result; of `late` a second call was begun all the same, and
    the ledger may not know.
    """

    calls: list[Case]
    before: list[Case] = field(default_factory=list)
    twice: list[Case] = field(default_factory=list)
    ended: list[Case] = field(default_factory=list)
    late: list[Case] = field(default_factory=list)


class Starts:
    """The records of one dispatcher's paid calls. `repeated` and `interrupted` count attempts."""

    def __init__(self, queue: JobQueue, clock: Clock, answered: Answered) -> None:
        self._queue = queue
        self._clock = clock
        self._answered = answered
        self.repeated = 0
        self.interrupted = 0

    async def begin(self, cases: list[Case], target: Target) -> Begun:
        """Record the calls. Raises QueueUnavailable: then none may be made."""
        if not cases or not is_charged(target):
            return Begun(cases)
        new, before = await self.record(cases, target, 1)
        return replace(await self._unanswered(before, target), calls=new)

    async def repeat(self, cases: list[Case], target: Target) -> Begun:
        """Record the second calls; time has passed since the look at the first. Raises QueueUnavailable."""
        found = await self._unanswered(cases, target)
        again, twice = await self.record(found.before, target, 2)
        self.repeated += len(again)
        self.interrupted += len(twice) + len(found.late)
        counts = {"repeated_in_all": self.repeated, "interrupted_in_all": self.interrupted}
        log.warning("paid_calls_begun_before", target=target.name, repeated=len(again), given_up=len(twice), **counts)
        return replace(found, calls=[replace(case, repeated=True) for case in again], before=[], twice=twice)

    async def close(self, cases: list[Case], target: Target) -> tuple[list[Case], list[Case]]:
        """Let nobody begin a second call for jobs that have their result; those of them for which somebody has."""
        if not is_charged(target):
            return cases, []
        try:
            return await self.record(cases, target, 2)
        except QueueUnavailable as error:
            log.warning("paid_calls_not_closed", target=target.name, jobs=len(cases), error=str(error))
            return cases, []

    async def _unanswered(self, before: list[Case], target: Target) -> Begun:
        """Somebody began these `before`: a dispatcher that died, lost its lease, or lost its acknowledgement."""
        if not before:
            return Begun([])
        answered = list(zip(before, await insist(lambda: self._answered(before), ANSWER_SECONDS), strict=True))
        # Recorded for these as well, so that nobody makes the call any more; and what is there tells if anybody did.
        ended, late = await self.record([case for case, has_result in answered if has_result], target, 2)
        return Begun([], [case for case, has_result in answered if not has_result], ended=ended, late=late)

    async def record(self, cases: Sequence[Case], target: Target, call: int) -> tuple[list[Case], list[Case]]:
        """Those recorded now, and those whose record somebody else stored before. Raises QueueUnavailable."""
        if not cases:
            return [], []
        # Made once: an outage must not turn our own record into somebody else's.
        posts = [Post(self._start(case, target, call)) for case in cases]
        stored = await insist(lambda: self._queue.publish(posts), ANSWER_SECONDS)
        pairs = list(zip(cases, stored, strict=True))
        new = [case for case, each in pairs if each is Stored.NEW]
        return new, [case for case, each in pairs if each is not Stored.NEW]

    def _start(self, case: Case, target: Target, call: int) -> Start:
        number, by = len(case.attempts) + 1, secrets.token_hex(8)
        return Start(case.job.id, case.job.tenant, number, call, target.name, self._clock.now(), by)
