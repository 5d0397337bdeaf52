"""What intake and runners share, and the one way a step leaves the dispatcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from fleet.dispatch.lease import Leases
from fleet.dispatch.spans import Spans
from fleet.dispatch.state import FleetState
from fleet.dispatch.step import Case, Step
from fleet.model.action import Action
from fleet.model.delivery import Post
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result
from fleet.model.view import View
from fleet.ports import Clock, JobQueue
from policies.plan import next_action
from policies.rules import Rules

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

    def decide(self, case: Case, view: View, now: float) -> Action:
        return next_action(case.job, case.attempts, view, now, self.rules)

    async def send(self, errands: Sequence[Errand]) -> None:
        """Publish what comes next, then settle: in this order, so that a crash repeats a step and loses nothing.

        Where the broker does not confirm, nothing is settled; the deliveries come back when their lease ends.
        """
        posts = [Post(letter, errand.traceparent) for errand in errands for letter in errand.step.letters]
        started_at = self.clock.now()
        try:
            stored = await self.queue.publish(posts)
            await self.queue.settle([errand.step.settlement for errand in errands])
        except QueueUnavailable as error:
            log.warning("step_not_confirmed", jobs=len(errands), error=str(error))
        else:
            self._tell(errands, started_at)
            self._count_refused(posts, stored)
        finally:
            self.leases.release([errand.step.settlement.delivery for errand in errands])

    def _tell(self, errands: Sequence[Errand], started_at: float) -> None:
        ended_at = self.clock.now()
        for errand in errands:
            self.spans.published(errand.step, errand.traceparent, started_at, ended_at)

    def _count_refused(self, posts: Sequence[Post], stored: Sequence[bool]) -> None:
        for post, kept in zip(posts, stored, strict=True):
            if not kept and isinstance(post.letter, Result):
                log.info("second_result_refused", job_id=post.letter.job_id, tenant=post.letter.tenant)
