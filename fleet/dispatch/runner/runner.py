"""A runner: takes the work waiting for one target, runs it in micro-batches and carries out what is decided next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial

import structlog

from fleet import faults
from fleet.dispatch.intake.opening import Opening, apart
from fleet.dispatch.maintenance.elsewhere import look_here_first
from fleet.dispatch.office import Errand, Office, job_fields, unread
from fleet.dispatch.patience import ANSWER_SECONDS, PAUSE_SECONDS, POLL_SECONDS, pause
from fleet.dispatch.runner.buffer import Buffer
from fleet.dispatch.runner.cold import LOOK_AGAIN_SECONDS, note_missed, waits_here
from fleet.dispatch.runner.paid import PaidCalls
from fleet.dispatch.runner.starts import Starts
from fleet.dispatch.runner.suspects import Suspects
from fleet.dispatch.runner.till import believed, cost_of, request_of, wait_for_money
from fleet.dispatch.runner.turns import Turns
from fleet.dispatch.step import Case
from fleet.interruption import is_own, raise_own
from fleet.model.action import Action, Run
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Outcome
from fleet.model.call import Call
from fleet.model.delivery import AnyDelivery, Retry, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.money import Refusal
from fleet.model.result import Work
from fleet.model.target import Target
from fleet.model.view import View
from fleet.ports import Backend
from policies import shadow
from policies.budget import is_charged, own_key_for
from policies.fairness.batching import may_bring
from policies.resilience.deadline import deadline_at

log = structlog.get_logger(__name__)

BYTES_PAUSE_SECONDS = 0.05
"""How long work is left where it is while too many bytes are in hand; some of it ends meanwhile."""

NO_ANSWER = Failure(FailureKind.INTERNAL, "the backend ended without an answer")
CALLED_OFF = Failure(FailureKind.CANCELLED, "the job was called off")


class Runner:
    """Everything one dispatcher does for one target. Never more than `target.max_in_flight` jobs run at once."""

    def __init__(self, target: Target, backend: Backend, office: Office) -> None:
        self._target = target
        self._backend = backend
        self._office = office
        self._buffer = Buffer(target)
        self._opening = Opening(office)
        starts = Starts(office.queue, office.clock, office.cancelling.answered)
        charged = "_paid" if is_charged(target) else ""
        self._calling, self._answered = f"runner.calling{charged}", f"runner.answered{charged}"
        self._turns = Turns(target, office, self._drop, self._let_go)
        calls = (starts, target, office, self._run_begun)
        self._suspects = Suspects(*calls, self._let_go, self._turns)
        self._paid = PaidCalls(*calls, self._conclude, self._drop, self._let_go, self._turns)
        self._in_slots: set[int] = set()
        self._batches: set[asyncio.Task[None]] = set()
        self._was_cold, self._was_shut = False, (False, False)
        office.state.replicas.tell(self._buffer.changed.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then finish what runs and hand back what only waits."""
        async with asyncio.TaskGroup() as group:
            collectors = [group.create_task(self._collect(lane, stop)) for lane in Lane]
            feeder = group.create_task(self._feed())
            await stop.wait()
            self._turns.drain()
            await asyncio.gather(*collectors)
            await self._opening.finish()
            feeder.cancel()
        await self._hand_back()
        await asyncio.gather(*self._batches)

    async def _collect(self, lane: Lane, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if not await self._collect_once(lane, stop):
                await pause(stop, PAUSE_SECONDS)

    async def _collect_once(self, lane: Lane, stop: asyncio.Event) -> bool:
        leases, targets = self._office.leases, self._office.state.traffic.targets
        if not may_bring(lane, leases.bytes_for(self._target.name), leases.work_bytes, len(targets)):
            await pause(stop, BYTES_PAUSE_SECONDS)
            return True
        waiting_for_room = asyncio.ensure_future(self._buffer.wait_for_room(lane))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((waiting_for_room, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting_for_room.done():
            waiting_for_room.cancel()
            return True
        try:
            source = WorkOf(self._target.name, lane)
            deliveries = await self._office.queue.take(source, waiting_for_room.result(), POLL_SECONDS)
            self._office.state.traffic.taken(source, len(deliveries))
            await self.receive(lane, deliveries)
        except QueueUnavailable as error:
            log.warning("runner_cannot_reach_the_queue", target=self._target.name, lane=lane, error=str(error))
            return False
        except BaseException as error:  # a bug ends one round and not the loop
            raise_own(error)
            log.exception("work_not_taken", target=self._target.name, lane=lane)
            return False
        return True

    async def receive(self, lane: Lane, deliveries: Sequence[AnyDelivery]) -> None:
        """Buffer what shall run here; carry out at once whatever was decided otherwise."""
        if not deliveries:
            return
        faults.point("runner.taken")
        self._office.leases.hold(deliveries)
        deliveries, sealed = apart(deliveries)
        async with self._office.queue.reading:
            place = partial(self._place, lane, self._office.state.view(), self._office.clock.now())
            elsewhere = [errand for each in deliveries if (errand := self._office.guarded(place, each))]
        if elsewhere:
            await self._office.send(elsewhere)
        await self._opening.run(sealed, partial(self._place_opened, lane))

    def _place_opened(self, lane: Lane, delivery: AnyDelivery) -> Errand | None:
        return self._place(lane, self._office.state.view(), self._office.clock.now(), delivery)

    def _place(self, lane: Lane, view: View, now: float, delivery: AnyDelivery) -> Errand | None:
        """Put the job into the buffer; or the errand, where it shall not run here."""
        self._office.spans.taken(delivery, delivery.traceparent, now)
        work = delivery.body
        if not isinstance(work, Work):
            return Errand(unread(delivery, now), delivery.traceparent)
        case = Case.of_work(delivery, work)
        action = self._look(case, view, now)
        staying = self._staying(case, action)
        if staying is None:
            return self._errand(case, action, now)
        self._buffer.put(lane, staying, now, deadline_at(case.job, self._office.rules))
        return None

    def _look(self, case: Case, view: View, now: float) -> Action | Exception:
        return look_here_first(self._office, case, self._target.name, view, now)

    def _staying(self, case: Case, action: Action | Exception) -> Case | None:
        """The case as it waits in the buffer, for a slot or for the target's first replica; None where it does not."""
        if isinstance(action, Run) and action.target == self._target.name:
            return case.about_to_run(action)
        return case if waits_here(action, self._target.name, self._office) else None

    def _errand(self, case: Case, action: Action | Exception, now: float) -> Errand:
        note_missed(self._office, case, action, now)
        return Errand(self._office.carry_out(case, action, now), case.delivery.traceparent)

    async def _feed(self) -> None:
        while True:
            now = self._office.clock.now()
            if await self._stands_by(now):
                await self._something_changes(LOOK_AGAIN_SECONDS)
                continue
            await self._heeds_breaker(now)
            if overdue := await self._buffer.overdue(now):
                self._conclude_late(overdue, now)
            name, state, traffic = self._target.name, self._office.state, self._office.state.traffic
            free = state.free(name, now)
            batch = await self._buffer.next_batch(free, traffic.in_flight(name) == 0, now)
            if batch:
                self._start(batch)
                continue
            moments = (self._buffer.due_in(free, now), self._buffer.overdue_in(now), state.opens_in(name, now))
            await self._something_changes(min((moment for moment in moments if moment is not None), default=None))

    async def _stands_by(self, now: float) -> bool:
        """Whether the target is cold; while it is, and once when it is warm, what waits here is decided on anew."""
        cold = self._office.state.replicas.cold(self._target.name)
        if cold or self._was_cold:
            await self._look_again(now)
        self._was_cold = cold
        return cold

    async def _heeds_breaker(self, now: float) -> None:
        """Whenever the target is shut or opened, decide anew on what waits here."""
        shut = self._office.state.shut(self._target.name, now)
        if shut != self._was_shut:
            self._was_shut = shut
            await self._look_again(now)

    async def _look_again(self, now: float) -> None:
        view, leaving = self._office.state.view(), list[Errand]()

        def look(case: Case) -> Case | None:
            action = self._look(case, view, now)
            staying = self._staying(case, action)
            if staying is None:
                leaving.append(self._errand(case, action, now))
            return staying

        await self._buffer.revise(look)
        if leaving:
            self._in_background(self._office.send(leaving))

    async def _something_changes(self, within_seconds: float | None) -> None:
        if within_seconds is None:
            await self._buffer.changed.wait()
        else:
            await pause(self._buffer.changed, within_seconds)
        self._buffer.changed.clear()

    def _conclude_late(self, cases: list[Case], now: float) -> None:
        """End the jobs whose deadline has passed while they waited for a slot."""
        view = self._office.state.view()
        errands = [self._errand(case, self._look(case, view, now), now) for case in cases]
        self._in_background(self._office.send(errands))

    def _start(self, batch: list[Case]) -> None:
        self._office.state.traffic.started(self._target.name, batch)
        self._in_slots.update(id(case.delivery) for case in batch)
        self._in_background(self._run_batch(batch))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _run_batch(self, batch: list[Case]) -> None:
        try:
            cases, suspects = self._suspects.among(await self._admit(await self._still_open(batch)))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._suspects.run(suspects))
                group.create_task(self._paid.run(cases))
        except BaseException as error:  # a bug met by one batch must not keep its slots; its jobs come back later
            raise_own(error)
            log.exception("batch_failed", target=self._target.name, jobs=len(batch))
        finally:
            self._let_go(batch)

    async def _run_begun(self, batch: list[Case]) -> None:
        started_at = self._office.clock.now()
        wanted, unwanted = self._turns.wanted(batch, started_at)
        open_jobs = dict(enumerate(wanted))
        async with asyncio.TaskGroup() as concluding:
            if unwanted:
                concluding.create_task(self._drop(unwanted, started_at))
            # Nothing may come between that look and this watch.
            call_off = partial(self._call_off, open_jobs, concluding, started_at)
            with self._office.cancelling.watching(open_jobs, call_off):
                await self._converse(open_jobs, concluding, started_at)

    async def _converse(self, open_jobs: dict[int, Case], concluding: asyncio.TaskGroup, started_at: float) -> None:
        """Run the jobs and conclude each as soon as its outcome is there. A job that is called off leaves by itself."""
        batch = list(open_jobs.values())
        if not batch:
            return
        task = asyncio.current_task()
        try:
            faults.point(self._calling)
            async for group in self._backend.run([self._call(case, started_at) for case in batch]):
                faults.point(self._answered)
                done = [(open_jobs.pop(index), outcome) for index, outcome in group if index in open_jobs]
                if done:
                    concluding.create_task(self._conclude(done, started_at))
        except BaseException as error:  # a backend never raises; if one does, its jobs must still end
            if is_own(error, task):
                raise
            log.exception("backend_raised", target=self._target.name)
        if open_jobs:
            left = [(case, NO_ANSWER) for case in open_jobs.values()]
            open_jobs.clear()
            await self._conclude(left, started_at)
        ran = [case.delivery for case in batch]
        self._office.spans.batch(ran, self._target.name, started_at, self._office.clock.now())

    async def _drop(self, cases: list[Case], now: float) -> None:
        """End jobs whose call has become pointless at the last moment."""
        cases, view = self._office.till.give_back(cases), self._office.state.view()
        await self._office.send([self._errand(case, self._look(case, view, now), now) for case in cases])
        self._let_go(cases)

    def _call_off(
        self, open_jobs: dict[int, Case], concluding: asyncio.TaskGroup, started_at: float, index: int
    ) -> None:
        """End a running job: its slot is free at once, the backend is told, and nobody waits for it."""
        case = open_jobs.pop(index, None)
        if case is not None:
            concluding.create_task(self._conclude([(case, CALLED_OFF)], started_at))
            concluding.create_task(self._stop(case))

    async def _stop(self, case: Case) -> None:
        try:
            await self._backend.stop([case.call_id])
        except BaseException as error:  # a backend never raises; if one does, only its own work is wasted
            raise_own(error)
            log.exception("call_not_stopped", target=self._target.name)

    async def _still_open(self, batch: list[Case]) -> list[Case]:
        """Those that still need an answer; where this dispatcher may not know, the broker is asked before it costs."""
        found = await self._office.cancelling.look_up(batch)
        if found.called_off:
            await self._drop(found.called_off, self._office.clock.now())
        if found.ended:
            await self._paid.close(found.ended)
        if found.unknown:
            self._let_go(found.unknown)  # they come back when the leases end
        return found.open

    async def _admit(self, batch: list[Case]) -> list[Case]:
        """Those whose money is set aside. The others wait for money, or go where none is needed."""
        try:
            admitted, refused = await self._office.till.pay(batch, self._target)
        except BaseException as error:  # a bug in a price must neither spend money nor keep slots
            raise_own(error)
            log.exception("money_not_reserved", target=self._target.name)
            admitted, refused = [], [(case, Refusal.BUSY) for case in batch]
        if refused:
            view, now = self._office.state.view(), self._office.clock.now()
            await self._office.send([self._refused(case, why, view, now) for case, why in refused])
            self._let_go([case for case, _ in refused])
        return admitted

    def _let_go(self, cases: Sequence[Case]) -> None:
        """Free the slots and leases of jobs, of each once."""
        here = [case for case in cases if id(case.delivery) in self._in_slots]
        self._in_slots.difference_update(id(case.delivery) for case in here)
        self._office.leases.release([case.delivery for case in here])
        self._office.state.traffic.ended(self._target.name, here)
        self._buffer.changed.set()

    def _refused(self, case: Case, why: Refusal, view: View, now: float) -> Errand:
        if case.shadow is not None:
            return self._errand(case, shadow.not_to_be_had(), now)
        if case.probe is not None:
            # Nor is a second look worth a wait: the job goes on with what is known.
            failure = Failure(FailureKind.RATE_LIMITED, "no money is left, or free, for a second look")
            number = len(case.attempts) + 1
            case = case.after(Attempt(number, self._target.name, case.reason, now, now, failure, probe=case.probe))
            return self._errand(case, self._look(case, view, now), now)
        action = wait_for_money(case, self._target) if why is Refusal.BUSY else self._look(case, view, now)
        if isinstance(action, Run) and action.target == self._target.name:
            action = wait_for_money(case, self._target)  # what was looked at may be older than the refusal
        return self._errand(case, action, now)

    def _call(self, case: Case, now: float) -> Call:
        own_key = own_key_for(case.job, self._target)
        return Call(request_of(case), self._given_seconds(case, now), own_key, case.delivery.traceparent, case.call_id)

    def _given_seconds(self, case: Case, started_at: float) -> float:
        """How long the target has: its own time-out, or less where the job's deadline is nearer."""
        left_seconds = max(0.001, deadline_at(case.job, self._office.rules) - started_at)
        return min(self._target.timeout_seconds, left_seconds)

    async def _conclude(self, done: Sequence[tuple[Case, Outcome]], started_at: float) -> None:
        """Judge the outcomes, decide what follows and send it off; only then are the slots free."""
        try:
            now = self._office.clock.now()
            done = [(case, believed(case, outcome, self._target)) for case, outcome in done]
            for case, outcome in done:
                self._office.till.settle(case, outcome, self._target)
                self._office.state.passed(self._target, case, outcome, now)
                given_seconds, own_key = self._given_seconds(case, started_at), own_key_for(case.job, self._target)
                self._office.state.record(self._target, outcome, given_seconds, now, own_key is not None)
            view = self._office.state.view()
            errands = [self._judge(case, outcome, view, started_at, now) for case, outcome in done]
            await self._office.send(errands, ANSWER_SECONDS)
        except BaseException as error:  # a bug met by one group must not take others along; its jobs come back later
            raise_own(error)
            log.exception("answers_not_concluded", target=self._target.name, jobs=len(done))
        finally:
            self._let_go([case for case, _ in done])

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
        number, name, probe, again = len(case.attempts) + 1, self._target.name, case.probe, case.repeated
        confidence, judged = None, None
        if isinstance(outcome, Answer):
            confidence, judged = self._office.knowledge.judge(case, outcome, self._target)
        cost = cost_of(case, outcome, self._target)
        return Attempt(number, name, case.reason, started_at, now, outcome, confidence, cost, judged, probe, again)

    async def _hand_back(self) -> None:
        cases = await self._buffer.empty()
        if not cases:
            return
        try:
            await self._office.queue.settle([Retry(case.delivery) for case in cases])
        except QueueUnavailable as error:
            log.warning("work_not_handed_back", jobs=len(cases), error=str(error))
        self._office.leases.release([case.delivery for case in cases])
