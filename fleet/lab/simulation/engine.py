"""The fleet on a virtual clock: takes every job from its arrival to its one end, event by event.

Events are arrivals, the next job to finish on each pool of replicas, and a heap of everything else that happens at a
known time. Production decides what a job does next (`Decisions`); here it is only carried out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any

from fleet.lab.simulation.decisions import Decisions, failure_code
from fleet.lab.simulation.dispatch_report import LoadReport
from fleet.lab.simulation.fleet_state import SimulatedFleetState
from fleet.lab.simulation.report.tally import Tally
from fleet.lab.simulation.saving.discounts import DiscountedCalls
from fleet.lab.simulation.saving.known import KnownAnswers
from fleet.lab.simulation.saving.prompts import SentPrompts
from fleet.lab.simulation.saving.requests import Requests
from fleet.lab.simulation.targets.pool import Machine, Pace, Pool
from fleet.lab.simulation.targets.provider import ANSWER
from fleet.lab.simulation.targets.server import LANES, OwnServer, PaidServer, SimulatedTarget
from fleet.lab.simulation.workload.ability import Answers, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import ScalingKind, Scenario
from fleet.model.action import Action, Finish, GiveUp, Reply, Run, Wait
from fleet.model.attempt import Answer, Failure, FailureKind, Outcome
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.scaling import Capacity
from policies import money
from policies.discounts.choice import DISCOUNT
from policies.rules.rules import Rules

TIMED_OUT = Failure(FailureKind.TIMEOUT, "simulated time-out")
LOST = Failure(FailureKind.CONNECTION, "the machine was taken away")

Event = tuple[float, int, Callable[[Any, float], None], Any]


class Engine:
    """Runs jobs on the targets of a scenario, with these paces of its own targets."""

    def __init__(
        self, scenario: Scenario, rules: Rules, paces: Mapping[str, Pace], answers: Mapping[str, Answers]
    ) -> None:
        targets, dispatchers = rules.catalogue.targets, scenario.dispatchers
        self.scenario = scenario
        self.rules = rules
        machine = Machine(scenario.contention)
        self.own = {
            name: OwnServer(targets[name], own, Pool(paces[name], own.replicas[0], machine), dispatchers)
            for name, own in scenario.own.items()
        }
        self.paid = {name: PaidServer(targets[name], paid, dispatchers) for name, paid in scenario.paid.items()}
        self.servers: Mapping[str, SimulatedTarget] = {**self.own, **self.paid}
        self.state = SimulatedFleetState(rules, frozenset(self.servers), self._capacities, self._stored)
        self.decisions = Decisions(scenario, rules, self.state, answers)
        self.tally = Tally()
        self._known = KnownAnswers(scenario, rules, requests := Requests(scenario.mix, rules.patterns))
        self._sent = SentPrompts(scenario, rules, requests)
        self._discounts = DiscountedCalls(scenario.mechanisms.discounts)
        self.report = LoadReport()
        self._answers = answers
        self._kinds = scenario.mix
        self._lanes = [kind.lane for kind in scenario.mix]
        self._pools = [(server, server.pool) for server in self.own.values()]
        self._events: list[Event] = []
        self._numbers = count()
        self._limits = [
            rules.lane_seconds[kind.lane] if kind.deadline_seconds is None else kind.deadline_seconds
            for kind in scenario.mix
        ]

    def _capacities(self) -> dict[str, Capacity]:
        """Return the replicas that dispatchers see.

        Ray Serve's default counts requests at its handles: dispatchers that hold jobs back from cold targets would
        never start anything, so under it they see no replicas.
        """
        if self.scenario.scaling.by is ScalingKind.RAY_SERVE:
            return {}
        return {name: server.capacity() for name, server in self.own.items()}

    def at(self, moment: float, action: Callable[[Any, float], None], argument: Any = None) -> None:
        """Plan an action for that moment; of several at the same moment the one planned first runs first."""
        heappush(self._events, (moment, next(self._numbers), action, argument))

    def run(self, jobs: Iterable[SimulatedJob], until: float = 0.0) -> float:
        """Run every job to its end, and on to `until`; return the time then. Jobs come in order of arrival."""
        arrivals = iter(jobs)
        job = next(arrivals, None)
        events, pools, tally, now = self._events, self._pools, self.tally, 0.0
        while job is not None or tally.ended < tally.arrived or now < until:
            moment = math.inf if job is None else job.arrived_at
            server: OwnServer | None = None
            for each, pool in pools:
                if pool.next_at < moment:
                    moment, server = pool.next_at, each
            if events and events[0][0] <= moment:
                now, _, action, argument = heappop(events)
                action(argument, now)
            elif server is not None:
                now = moment
                self._finished(server, now)
            elif job is not None:
                now = moment
                self._arrived(job)
                job = next(arrivals, None)
            else:
                break
        return now

    def _arrived(self, job: SimulatedJob) -> None:
        now = job.arrived_at
        self.tally.arrived += 1
        job.deadline_at = now + self._limits[job.kind]
        self._sent.shorten(job)
        if self._kinds[job.kind].prompts is None:
            self.go_on(job, now)
        else:
            self._look_up(job, now)

    def _look_up(self, job: SimulatedJob, now: float) -> None:
        """Answer a job without a call if its answer is known, or let it wait for an equal one."""
        known = self._known.answer(job, now)
        if known is not None:
            self.tally.known(job, self._lanes[job.kind], known, now)
        elif (until := self._known.wait(job, now)) is not None:
            self.at(until, self._stop_waiting, job)
        else:
            self.go_on(job, now)

    def _stop_waiting(self, job: SimulatedJob, now: float) -> None:
        if self._known.stop_waiting(job):
            self.go_on(job, now)

    def go_on(self, job: SimulatedJob, now: float) -> None:
        """Carry out the decision on the job now."""
        action = self.decisions.next(job, now)
        if isinstance(action, Run):
            self._note(job, action, now)
            job.sent = action
            self._hand_over(job, self.servers[action.target], now)
        else:
            self._end_or_wait(job, action, now)

    def _note(self, job: SimulatedJob, run: Run, now: float) -> None:
        """Note what the run says of targets, as dispatchers do: one that is cold or overloaded misses the job."""
        lane, sojourns = self._lanes[job.kind], self.state.sojourns
        self.tally.escalations += self.decisions.has_answer(job)
        self.tally.overloaded += run.reason is Reason.OVERLOADED
        if run.reason is not Reason.TARGET_COLD and run.reason is not Reason.OVERLOADED:
            sojourns.turn_away(run.target, lane, False)
            return
        wanted = self.decisions.wanted(job, now)
        if wanted is None or wanted == run.target:
            return
        if run.reason is Reason.OVERLOADED:
            sojourns.turn_away(wanted, lane, True)
        if self.decisions.is_missed(job, wanted, run.target):
            self.report.missed(wanted, job.input + job.output)

    def _stored(self, name: str, lane: Lane) -> int:
        """Count the lane's jobs stored for a target, waiting or running."""
        server = self.servers[name]
        return server.lines[lane].count + server.running_in[lane]

    def _end_or_wait(self, job: SimulatedJob, action: Action, now: float) -> None:
        lane = self._lanes[job.kind]
        match action:
            case Finish():
                target = self.decisions.target_of(job.path[action.attempt - 1])
                self.tally.finished(job, lane, action, target, now)
                self._release(job, action, now)
            case GiveUp():
                self.tally.gave_up(job, lane, action, now)
                self._release(job, action, now)
            case Wait(reason=Reason.COLD):
                self._wait_for_replica(job, self.own[action.target], lane, now)
            case Wait():
                self.at(now + action.seconds, self.go_on, job)
            case Run() | Reply():
                raise TypeError("a run is handed over, and a simulated request has no text to know an answer to")

    def _release(self, job: SimulatedJob, action: Finish | GiveUp, now: float) -> None:
        """Keep a job's answer, and let those that waited for it look again."""
        if self._kinds[job.kind].prompts is not None:
            for waiting in self._known.ended(job, action, self.decisions.attempts(job), now):
                self._look_up(waiting, now)

    def _hand_over(self, job: SimulatedJob, server: SimulatedTarget, now: float) -> None:
        kind = self._kinds[job.kind]
        job.sent_at, job.found = now, self._stored(server.target.name, kind.lane)
        if not server.waiting and server.free(kind.lane, now) > 0:
            self._begin(job, server, now)
        else:
            server.put(job, kind)
            self._look_again(server, now)

    def _wait_for_replica(self, job: SimulatedJob, server: OwnServer, lane: Lane, now: float) -> None:
        """Let a job wait for a replica; each tick decides on it again. The wait counts as work for the target."""
        if not job.waits:
            self.report.handed_over(server.target.name, lane, job.input + job.output, job.deadline_at - now)
        job.waits += 1
        server.asleep.append((job, lane))

    def wake(self, server: OwnServer, now: float) -> None:
        for job in server.wake():
            self.go_on(job, now)

    def _begin(self, job: SimulatedJob, server: SimulatedTarget, now: float) -> None:
        """Begin a job. Dispatchers report it when they decide on it; before that, long waits happen in JOBS."""
        tokens, slack_seconds = job.input + job.output, job.deadline_at - now
        self.report.handed_over(server.target.name, self._lanes[job.kind], tokens, slack_seconds)
        self._start(job, server, now)

    def _start(self, job: SimulatedJob, server: SimulatedTarget, now: float) -> None:
        lane = self._lanes[job.kind]
        if now >= job.deadline_at:
            self.go_on(job, now)
            return
        if not job.begun:
            job.begun = True
            self.tally.begun(job, lane, now)
        if isinstance(server, OwnServer):
            server.entered(lane)
            job.started_at = now
            server.pool.start(job, now)
            given = min(server.target.timeout_seconds, job.deadline_at - now)
            self.at(now + given, self._timed_out, (server, job, job.run))
        elif isinstance(server, PaidServer):
            self._call(job, server, now)

    def _call(self, job: SimulatedJob, server: PaidServer, now: float) -> None:
        """Call once the money for it is set aside; if it cannot be now, the job looks again later."""
        pays, cost = self.decisions.price(job, server.target)
        job.reserved = cost if pays else 0
        if pays and not self.state.reserve(cost, now):
            job.reserved = 0
            job.waits += 1
            self.at(now + money.busy_seconds(job.waits), self.go_on, job)
            return
        batch = self._discounts.choose(job, server.target.name, now)
        job.price = 1.0 if batch is None else DISCOUNT
        job.cached = self._sent.cached(job, server.target.name, now)
        if batch is not None and batch.fallback_seconds is not None:
            self._put_in_batch(job, server, job.deadline_at - batch.fallback_seconds, now)
        else:
            self._call_now(job, server, now)

    def _put_in_batch(self, job: SimulatedJob, server: PaidServer, until: float, now: float) -> None:
        """Let the job's call go into a batch, which takes no slot; it is given up at `until`, unfinished and unpaid."""
        job.started_at = now
        done_at = now + self._discounts.batch_seconds(job)
        action = self._batched if done_at <= until else self._given_up
        self.at(min(done_at, until), action, (server, job))

    def _batched(self, call: tuple[PaidServer, SimulatedJob], now: float) -> None:
        server, job = call
        self._discounts.saw(server.target.name, now - job.started_at, ended=True)
        self._settle(server, job, ANSWER)
        server.attempts += 1
        job.ended_at, job.sent = now, None
        self._judge(job, server.target.name)
        self.go_on(job, now)

    def _given_up(self, call: tuple[PaidServer, SimulatedJob], now: float) -> None:
        server, job = call
        self._discounts.saw(server.target.name, now - job.started_at, ended=False)
        job.price = 1.0
        self._call_now(job, server, now)

    def _call_now(self, job: SimulatedJob, server: PaidServer, now: float) -> None:
        server.entered(self._lanes[job.kind])
        job.started_at = now
        ends_at, outcome = server.call(job, now)
        given = min(server.target.timeout_seconds, job.deadline_at - now)
        if ends_at > now + given:
            ends_at, outcome = now + given, TIMED_OUT
        self.at(ends_at, self._called, (server, job, outcome))

    def _called(self, call: tuple[PaidServer, SimulatedJob, Outcome], now: float) -> None:
        server, job, outcome = call
        self._settle(server, job, outcome)
        server.provider.heard(outcome, now)
        if self.state.shut(server.target.name, server.provider.meter.shut_until_at):
            self._shut(server, server.provider.meter.shut_until_at, now)
        self._concluded(server, job, outcome, now)

    def _settle(self, server: PaidServer, job: SimulatedJob, outcome: Outcome) -> None:
        """Book what the call cost in place of what was set aside, as production does."""
        if not job.reserved:
            return
        if isinstance(outcome, Answer):
            cost = self.decisions.cost(job, server.target)
        else:
            cost = money.charged(outcome, job.reserved, server.target)
        self.state.settle(job.reserved, cost)
        job.reserved = 0
        server.usd += money.usd_of(cost)
        if job.sent is not None and job.sent.reason is Reason.OVERLOADED:
            self.tally.overloaded_usd += money.usd_of(cost)

    def _finished(self, server: OwnServer, now: float) -> None:
        self._concluded(server, server.pool.finish(now), ANSWER, now)

    def _timed_out(self, running: tuple[OwnServer, SimulatedJob, int], now: float) -> None:
        """Give up a call that has not ended: its replica stops working for it."""
        server, job, run = running
        if job.run == run:
            server.pool.stop(job, now)
            self._concluded(server, job, TIMED_OUT, now)

    def _concluded(self, server: SimulatedTarget, job: SimulatedJob, outcome: Outcome, now: float) -> None:
        """End an attempt: free its slot, tell its breaker, and let the job continue."""
        name, target = server.target.name, server.target
        server.left(self._lanes[job.kind])
        job.ended_at = now
        given = min(target.timeout_seconds, job.deadline_at - job.started_at)
        job.sent = None
        if isinstance(outcome, Answer):
            seconds, run_seconds = now - job.sent_at, now - job.started_at
            self.state.sojourns.answered(name, self._lanes[job.kind], seconds, run_seconds, job.found, now)
        opens_at = self.state.record(target, outcome, given, now)
        if opens_at is not None:
            self._shut(server, opens_at, now)
        if isinstance(outcome, Failure):
            job.path += (self.decisions.code(name, failure_code(outcome)),)
        else:
            server.tokens_done += job.input + job.output
            self._judge(job, name)
        self.go_on(job, now)
        if server.waiting:
            self.refill(server, now)

    def _judge(self, job: SimulatedJob, name: str) -> None:
        answers, number = self._answers[name], len(job.path)
        drawn = hashed(job.bits, number)
        outcome = answers.by_kind[job.kind][job.difficulty][drawn >> 12]
        if drawn & 4095 < answers.verdicts[outcome].right_below:
            job.rights |= 1 << number
        job.path += (self.decisions.code(name, outcome),)

    def refill(self, server: SimulatedTarget, now: float) -> None:
        """Start waiting jobs as far as there is room, the first lane first."""
        for lane in LANES:
            line = server.lines[lane]
            while line.count and (free := server.free(lane, now)) > 0:
                running = server.running
                for _ in range(min(free, line.count)):
                    self._taken(server.take(lane), server, now)
                if server.running >= running + free:
                    break
        self._look_again(server, now)

    def _taken(self, job: SimulatedJob, server: SimulatedTarget, now: float) -> None:
        """Begin a job whose turn has come, or let it go elsewhere if its run alone would be late."""
        if self.decisions.is_late_here(job, now):
            action = self.decisions.next(job, now)
            if not isinstance(action, Run) or action.target != server.target.name:
                self.go_on(job, now)
                return
        self._begin(job, server, now)

    def _look_again(self, server: SimulatedTarget, now: float) -> None:
        """Plan a check at the known time when a provider's limit ends; nothing else would notice."""
        if server.waiting and isinstance(server, PaidServer) and server.look_at <= now:
            opens_at = server.provider.opens_at(now)
            if opens_at is not None:
                server.look_at = opens_at
                self.at(opens_at, self._reopened, server)

    def _shut(self, server: SimulatedTarget, until: float, now: float) -> None:
        """Make no call until then: decide again on the jobs that wait."""
        self.at(until, self._reopened, server)
        for job in server.drain():
            self.go_on(job, now)

    def _reopened(self, server: SimulatedTarget, now: float) -> None:
        self.state.touch()
        self.refill(server, now)

    def lose(self, server: OwnServer, now: float) -> None:
        """Take away a spot machine: its jobs fail, and continue as production decides."""
        lost = server.lose_one(now)
        self.state.note_capacities()
        for job in lost:
            self._concluded(server, job, LOST, now)

    def conclude_overdue(self, now: float) -> None:
        """End the jobs whose deadline passed while they waited."""
        for server in self.servers.values():
            if server.waiting:
                for job in server.overdue(now):
                    self.go_on(job, now)
