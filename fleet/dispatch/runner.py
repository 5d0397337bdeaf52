"""A runner: takes the work waiting for one target, runs it in micro-batches and carries out what is decided next."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from fleet.dispatch.buffer import Buffer
from fleet.dispatch.office import Errand, Office, job_fields
from fleet.dispatch.patience import PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.step import Case, Step, unreadable
from fleet.dispatch.till import request_of, wait_for_money
from fleet.model.action import Action, Run
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Outcome
from fleet.model.call import Call
from fleet.model.delivery import AnyDelivery, Retry, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.money import Refusal
from fleet.model.result import Malformed, Work
from fleet.model.target import Target
from fleet.model.view import View
from fleet.ports import Backend
from policies import shadow
from policies.budget import cost_usd, own_key_for
from policies.deadline import deadline_at
from policies.delivery import unreadable_again_in

log = structlog.get_logger(__name__)


class Runner:
    """Everything one dispatcher does for one target. Never more than `target.max_in_flight` jobs run at once."""

    def __init__(self, target: Target, backend: Backend, office: Office) -> None:
        self._target = target
        self._backend = backend
        self._office = office
        self._buffer = Buffer(target)
        self._batches: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then finish what runs and hand back what only waits."""
        async with asyncio.TaskGroup() as group:
            collectors = [group.create_task(self._collect(lane, stop)) for lane in Lane]
            feeder = group.create_task(self._feed())
            await stop.wait()
            await asyncio.gather(*collectors)
            feeder.cancel()
        await self._hand_back()
        await asyncio.gather(*self._batches)

    async def _collect(self, lane: Lane, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await self._collect_once(lane, stop):
                await pause(stop, PAUSE_SECONDS)

    async def _collect_once(self, lane: Lane, stop: asyncio.Event) -> bool:
        waiting_for_room = asyncio.ensure_future(self._buffer.wait_for_room(lane))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((waiting_for_room, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting_for_room.done():
            waiting_for_room.cancel()
            return True
        try:
            source = WorkOf(self._target.name, lane)
            await self.receive(lane, await self._office.queue.take(source, waiting_for_room.result(), POLL_SECONDS))
        except QueueUnavailable as error:
            log.warning("runner_cannot_reach_the_queue", target=self._target.name, lane=lane, error=str(error))
            return False
        return True

    async def receive(self, lane: Lane, deliveries: Sequence[AnyDelivery]) -> None:
        """Buffer what shall run here; carry out at once whatever was decided otherwise."""
        if not deliveries:
            return
        self._office.leases.hold(deliveries)
        view, now = self._office.state.view(), self._office.clock.now()
        elsewhere = [errand for delivery in deliveries if (errand := self._place(lane, delivery, view, now))]
        if elsewhere:
            await self._office.send(elsewhere)

    def _place(self, lane: Lane, delivery: AnyDelivery, view: View, now: float) -> Errand | None:
        """Put the job into the buffer; or the errand, where it shall not run here."""
        self._office.spans.taken(delivery, delivery.traceparent, now)
        work = delivery.body
        if not isinstance(work, Work):
            return Errand(unread(delivery, now), delivery.traceparent)
        case = Case.of_work(delivery, work)
        action = self._office.look(case, view, now)
        if isinstance(action, Run) and action.target == self._target.name:
            self._buffer.put(lane, case.about_to_run(action), now)
            return None
        return self._errand(case, action, now)

    def _errand(self, case: Case, action: Action | Exception, now: float) -> Errand:
        return Errand(self._office.carry_out(case, action, now), case.delivery.traceparent)

    async def _feed(self) -> None:
        while True:
            now = self._office.clock.now()
            free = self._target.max_in_flight - self._office.state.in_flight(self._target.name)
            batch = await self._buffer.next_batch(free, now) if free > 0 else []
            if batch:
                self._start(batch)
                continue
            await self._something_changes(self._buffer.due_in(now) if free > 0 else None)

    async def _something_changes(self, within_seconds: float | None) -> None:
        if within_seconds is None:
            await self._buffer.changed.wait()
        else:
            await pause(self._buffer.changed, within_seconds)
        self._buffer.changed.clear()

    def _start(self, batch: list[Case]) -> None:
        self._office.state.started(self._target.name, len(batch))
        task = asyncio.create_task(self._run_batch(batch))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _run_batch(self, batch: list[Case]) -> None:
        batch = await self._admit(batch)
        if not batch:
            return
        started_at = self._office.clock.now()
        open_jobs = dict(enumerate(batch))
        async with asyncio.TaskGroup() as concluding:
            try:
                async for group in self._backend.run([self._call(case, started_at) for case in batch]):
                    done = [(open_jobs.pop(index), outcome) for index, outcome in group]
                    concluding.create_task(self._conclude(done, started_at))
            except Exception:  # a backend never raises; if one does, its jobs must still end
                log.exception("backend_raised", target=self._target.name)
            if open_jobs:
                failure = Failure(FailureKind.INTERNAL, "the backend ended without an answer")
                await self._conclude([(case, failure) for case in open_jobs.values()], started_at)
        deliveries = [case.delivery for case in batch]
        self._office.spans.batch(deliveries, self._target.name, started_at, self._office.clock.now())

    async def _admit(self, batch: list[Case]) -> list[Case]:
        """Those whose money is set aside. The others wait for money, or go where none is needed."""
        try:
            admitted, refused = await self._office.till.pay(batch, self._target)
        except Exception:  # a bug in a price must neither spend money nor keep slots
            log.exception("money_not_reserved", target=self._target.name)
            admitted, refused = [], [(case, Refusal.BUSY) for case in batch]
        if refused:
            try:
                view, now = self._office.state.view(), self._office.clock.now()
                await self._office.send([self._refused(case, why, view, now) for case, why in refused])
            finally:
                self._office.state.ended(self._target.name, len(refused))
                self._buffer.changed.set()
        return admitted

    def _refused(self, case: Case, why: Refusal, view: View, now: float) -> Errand:
        if case.shadow is not None:
            return self._errand(case, shadow.not_to_be_had(), now)
        if case.probe is not None:
            # Nor is a second look worth a wait: the job goes on with what is known.
            failure = Failure(FailureKind.RATE_LIMITED, "no money is left, or free, for a second look")
            number = len(case.attempts) + 1
            case = case.after(Attempt(number, self._target.name, case.reason, now, now, failure, probe=case.probe))
            return self._errand(case, self._office.look(case, view, now), now)
        action = wait_for_money(case, self._target) if why is Refusal.BUSY else self._office.look(case, view, now)
        if isinstance(action, Run) and action.target == self._target.name:
            action = wait_for_money(case, self._target)  # what was looked at may be older than the refusal
        return self._errand(case, action, now)

    def _call(self, case: Case, now: float) -> Call:
        own_key = own_key_for(case.job, self._target)
        return Call(request_of(case), self._given_seconds(case, now), own_key, case.delivery.traceparent)

    def _given_seconds(self, case: Case, started_at: float) -> float:
        """How long the target has: its own time-out, or less where the job's deadline is nearer."""
        left_seconds = max(0.001, deadline_at(case.job, self._office.rules) - started_at)
        return min(self._target.timeout_seconds, left_seconds)

    async def _conclude(self, done: Sequence[tuple[Case, Outcome]], started_at: float) -> None:
        """Judge the outcomes, decide what follows and send it off; only then are the slots free."""
        try:
            now = self._office.clock.now()
            for case, outcome in done:
                self._office.till.settle(case, outcome, self._target)
                # What goes wrong with a tenant's own key says nothing about the target for anybody else.
                if own_key_for(case.job, self._target) is None:
                    self._office.state.record(self._target, outcome, self._given_seconds(case, started_at), now)
            view = self._office.state.view()
            await self._office.send([self._judge(case, outcome, view, started_at, now) for case, outcome in done])
        finally:
            self._office.state.ended(self._target.name, len(done))
            self._buffer.changed.set()

    def _judge(self, case: Case, outcome: Outcome, view: View, started_at: float, now: float) -> Errand:
        try:
            attempt = self._attempt(case, outcome, started_at, now)
            tried = case.after(attempt)
            self._office.spans.model_call(case, attempt, self._target)
            return self._errand(tried, self._office.decide(tried, view, now), now)
        except Exception as error:  # a bug met by one job must not stop its neighbours
            log.exception("judgement_failed", **job_fields(case.delivery, case.delivery.traceparent))
            return self._errand(case, error, now)

    def _attempt(self, case: Case, outcome: Outcome, started_at: float, now: float) -> Attempt:
        number, name, probe = len(case.attempts) + 1, self._target.name, case.probe
        if not isinstance(outcome, Answer):
            return Attempt(number, name, case.reason, started_at, now, outcome, probe=probe)
        confidence, judged = self._office.knowledge.judge(case, outcome, self._target)
        paid_by_tenant = own_key_for(case.job, self._target) is not None
        cost = 0.0 if paid_by_tenant else cost_usd(outcome.usage, self._target)
        return Attempt(number, name, case.reason, started_at, now, outcome, confidence, cost, judged, probe)

    async def _hand_back(self) -> None:
        cases = await self._buffer.empty()
        if not cases:
            return
        try:
            await self._office.queue.settle([Retry(case.delivery) for case in cases])
        except QueueUnavailable as error:
            log.warning("work_not_handed_back", jobs=len(cases), error=str(error))
        self._office.leases.release([case.delivery for case in cases])


def unread(delivery: AnyDelivery, now: float) -> Step:
    """The step for what came from the WORK stream and is no work."""
    if not isinstance(delivery.body, Malformed):
        raise TypeError("the WORK stream carries work only")
    return unreadable(delivery, delivery.body, unreadable_again_in(delivery.deliveries), now)
