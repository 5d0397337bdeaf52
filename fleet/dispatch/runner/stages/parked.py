"""Runs jobs in a provider's batches: they are sent, and then wait where work waits, without a lease or a slot.

A job comes back to look for its outcome, to any dispatcher. What it is sent with and what has become of it is known to
whoever looks (see `BatchedCalls`), so that a dispatcher may end, die or be replaced while batches run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.dispatch.patience import ANSWER_SECONDS
from fleet.dispatch.runner.call import call_of
from fleet.dispatch.runner.cost_reservations import CostReservations
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.slots import Exit
from fleet.dispatch.runner.stages.assess import Assess
from fleet.dispatch.runner.stages.passed import Passed
from fleet.dispatch.state.state import FleetState
from fleet.model.action import Wait
from fleet.model.attempt import Failure
from fleet.model.batched import Batched
from fleet.model.call import Call
from fleet.model.delivery import Transition
from fleet.model.reason import Reason
from fleet.model.target import Target
from fleet.ports import BatchedCalls, Clock
from policies.discounts.choice import look_again_seconds
from policies.discounts.ladder import fallback_seconds
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules


class Parked:
    """The jobs of one target that go out in batches, and those that come back to look for theirs."""

    def __init__(
        self,
        target: Target,
        batches: BatchedCalls,
        rules: Rules,
        clock: Clock,
        state: FleetState,
        reservations: CostReservations,
        decider: TargetDecider,
        leaving: Exit,
        assess: Assess,
    ) -> None:
        self._target = target
        self._usual = rules.catalogue.original(target)
        self._batches = batches
        self._rules = rules
        self._clock = clock
        self._state = state
        self._reservations = reservations
        self._decider = decider
        self._exit = leaving
        self._assess = assess

    async def look(self, jobs: list[InFlightJob]) -> Passed:
        """Conclude the jobs whose batch has ended, let those wait whose batch runs, and pass on those in none."""
        if not jobs:
            return Passed([])
        now = self._clock.now()
        with contained("batched_calls_not_found", outage="batched_calls_not_found", target=self._target.name) as met:
            found = await self._batches.look([self._call(each, now) for each in jobs])
            self._state.batches[self._target.name] = self._batches.observed()
        if met.error is not None:  # they come back when their leases end
            self._exit.abandon(jobs)
            return Passed([])
        await self._conclude([(each, batched) for each, batched in zip(jobs, found, strict=True) if batched])
        waiting = [(each, at) for each, at in zip(jobs, found, strict=True) if at and at.outcome is None]
        return Passed(
            [each for each, batched in zip(jobs, found, strict=True) if batched is None],
            [self._wait(each, now - batched.begun_at, now) for each, batched in waiting],
            ANSWER_SECONDS,
        )

    async def send(self, jobs: list[InFlightJob]) -> None:
        """Send jobs whose money is set aside, and let them wait; conclude those that could not be sent."""
        if not jobs:
            return
        now = self._clock.now()
        sent: Sequence[Failure | bool] = ()
        with contained("batched_calls_not_sent", outage="batched_calls_not_sent", target=self._target.name) as met:
            sent = await self._batches.send([(self._call(each, now), each.deposit) for each in jobs])
            self._state.batches[self._target.name] = self._batches.observed()
        if met.error is not None:  # what may have been sent is on record, and its money stays set aside
            self._exit.leave_alone(jobs)
            return
        others = [each for each, was in zip(jobs, sent, strict=True) if was is False]
        self._reservations.release(others)  # whoever has sent them has set money aside as well
        failed = [(each, was) for each, was in zip(jobs, sent, strict=True) if isinstance(was, Failure)]
        if failed:
            await self._assess(failed, MicroBatch(now))
        waiting = [each for each, was in zip(jobs, sent, strict=True) if isinstance(was, bool)]
        await self._exit.leave(waiting, [self._wait(each, 0.0, now) for each in waiting], ANSWER_SECONDS)

    async def _conclude(self, found: Sequence[tuple[InFlightJob, Batched]]) -> None:
        """Judge the outcomes, batch by batch."""
        ended: dict[str, list[tuple[InFlightJob, Batched]]] = {}
        for each, batched in found:
            if batched.outcome is not None:
                ended.setdefault(batched.name, []).append((each, batched))
        for name, rows in ended.items():
            batch = MicroBatch(rows[0][1].begun_at, name, rows[0][1].size)
            outcomes = [(replace(each, deposit=at.deposit), at.outcome) for each, at in rows]
            await self._assess([(each, outcome) for each, outcome in outcomes if outcome is not None], batch)

    def _call(self, inflight: InFlightJob, now: float) -> Call:
        """Return the job's call, whose time is over when the batch is to be given up."""
        left_seconds = deadline_at(inflight.job, self._rules) - now - fallback_seconds(self._usual)
        return replace(call_of(inflight, self._target, now, self._rules), timeout_seconds=max(0.001, left_seconds))

    def _wait(self, inflight: InFlightJob, since_seconds: float, now: float) -> Transition:
        left_seconds = self._call(inflight, now).timeout_seconds
        wait = Wait(self._target.name, look_again_seconds(since_seconds, left_seconds), Reason.BATCHED)
        return self._decider.contained(inflight, now, lambda: self._decider.transition(inflight, wait, now))
