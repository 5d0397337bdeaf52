"""A fleet simulated the slow and obvious way, to check the fast one against.

Each running job has its own work left, all of them are looked at with every event, and production is asked again for
every decision with a job written out in full. The number of replicas never changes; no limits, no outages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fleet.lab.simulation.simulate import paces_of
from fleet.lab.simulation.sojourns import READ_SECONDS
from fleet.lab.simulation.workload.ability import answers_of, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Kind, Scenario
from fleet.model.action import Action, Finish, GiveUp, Run, Wait
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Usage
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, Job, Lane
from fleet.model.reason import Reason
from fleet.model.scaling import Capacity
from fleet.model.view import Sojourn, TargetView, View
from policies.fairness.batching import kept_for_interactive
from policies.plan import next_action
from policies.resilience.cold import at_rest
from policies.routing import overload
from policies.rules.rules import Rules

End = tuple[float, str, str | None]
"""The end of a job: its time, its status, and the target whose answer it got."""


@dataclass
class Case:
    job: SimulatedJob
    kind: Kind
    deadline_at: float
    attempts: list[Attempt] = field(default_factory=list)
    target: str = ""
    started_at: float = 0.0
    work_left: float = 0.0
    ends_at: float = math.inf
    sent: Run | None = None
    sent_at: float = 0.0
    found: int = 0


class NaiveFleet:
    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario, self.rules = scenario, rules
        self.answers = answers_of(scenario.answers, len(scenario.mix), rules)
        self.paces = paces_of(scenario, rules)
        self.running: dict[str, list[Case]] = {name: [] for name in [*scenario.own, *scenario.paid]}
        self.waiting: dict[str, list[Case]] = {name: [] for name in self.running}
        self.sleeping: list[tuple[float, Case]] = []
        self.ends: dict[int, End] = {}
        self.now = 0.0
        self.sojourns: dict[tuple[str, Lane], Sojourn] = {}
        self.seen: dict[tuple[str, Lane], Sojourn] = {}
        self.turning_away: set[tuple[str, Lane]] = set()
        self.read_at = -math.inf

    def run(self, jobs: Sequence[SimulatedJob]) -> dict[int, End]:
        """Run the jobs, and return the end of each by its random bits."""
        coming = sorted(jobs, key=lambda job: job.arrived_at)
        while coming or self.sleeping or any(self.running.values()) or any(self.waiting.values()):
            moments = [coming[0].arrived_at if coming else math.inf]
            moments += [at for at, _ in self.sleeping]
            moments += [self.done_at(case) for cases in self.running.values() for case in cases]
            moments += [self.given_up_at(case) for cases in self.running.values() for case in cases]
            self.pass_time(min(moments))
            if self.end_one():
                continue
            if due := [each for each in self.sleeping if each[0] <= self.now]:
                self.sleeping.remove(due[0])
                self.decide(due[0][1])
            elif coming and coming[0].arrived_at <= self.now:
                job = coming.pop(0)
                kind = self.scenario.mix[job.kind]
                given = self.rules.lane_seconds[kind.lane] if kind.deadline_seconds is None else kind.deadline_seconds
                self.decide(Case(job, kind, job.arrived_at + given))
        return self.ends

    def speed(self, name: str) -> float:
        pace, replicas = self.paces[name], self.scenario.own[name].replicas[0]
        on_each = max(1.0, len(self.running[name]) / replicas)
        return 1 / (pace.step_seconds + pace.each_seconds * on_each)

    def done_at(self, case: Case) -> float:
        return (
            case.ends_at if case.target in self.scenario.paid else self.now + case.work_left / self.speed(case.target)
        )

    def given_up_at(self, case: Case) -> float:
        target = self.rules.catalogue.targets[case.target]
        return case.started_at + min(target.timeout_seconds, case.deadline_at - case.started_at)

    def pass_time(self, until: float) -> None:
        for name in self.scenario.own:
            speed = self.speed(name)
            for case in self.running[name]:
                case.work_left -= (until - self.now) * speed
        self.now = until

    def end_one(self) -> bool:
        for name, cases in self.running.items():
            for case in cases:
                done = case.ends_at <= self.now if name in self.scenario.paid else case.work_left <= 1e-9
                if done or self.given_up_at(case) <= self.now:
                    cases.remove(case)
                    self.conclude(name, case, late=not done)
                    return True
        return False

    def conclude(self, name: str, case: Case, late: bool) -> None:
        number = len(case.attempts)
        outcome: Answer | Failure = Answer({}, "stop", Usage(case.job.input, case.job.output), name)
        confidence = None
        if late:
            outcome = Failure(FailureKind.TIMEOUT, "late")
        else:
            answers = self.answers[name]
            draw = hashed(case.job.bits, number) >> 12
            confidence = answers.verdicts[answers.by_kind[case.job.kind][case.job.difficulty][draw]].confidence
            self.measure(name, case)
        case.sent = None
        attempt = Attempt(number + 1, name, Reason.ROUTED, case.started_at, self.now, outcome, confidence)
        case.attempts.append(attempt)
        self.decide(case)
        self.refill(name)

    def measure(self, name: str, case: Case) -> None:
        key = name, case.kind.lane
        times = self.now - case.sent_at, self.now - case.started_at
        self.sojourns[key] = overload.answered(self.sojourns.get(key), *times, case.found, self.now)

    def stored(self, name: str, lane: Lane) -> int:
        return sum(case.kind.lane is lane for case in [*self.waiting[name], *self.running[name]])

    def look(self) -> None:
        """Read the queues if a reading is due, as a dispatcher does before it decides."""
        if self.now - self.read_at >= READ_SECONDS:
            self.read_at = self.now
            self.seen = {
                key: overload.seen(each, self.stored(*key), key in self.turning_away)
                for key, each in self.sojourns.items()
            }

    def refill(self, name: str) -> None:
        for lane in Lane:
            for case in [each for each in self.waiting[name] if each.kind.lane is lane]:
                if self.has_room(name, lane):
                    self.waiting[name].remove(case)
                    self.take(name, case)

    def take(self, name: str, case: Case) -> None:
        """Start a case whose turn has come, unless its run alone would be late and another target would not."""
        self.look()
        target, left_seconds = self.rules.catalogue.targets[name], case.deadline_at - self.now
        of_target = self.view().targets[name]
        if overload.too_late(target, self.as_job(case), left_seconds, of_target, self.now, self.rules, case.sent):
            action = self.action(case)
            if not isinstance(action, Run) or action.target != name:
                self.decide(case)
                return
        self.start(name, case)

    def has_room(self, name: str, lane: Lane) -> bool:
        target = self.rules.catalogue.targets[name]
        slots = self.scenario.dispatchers * target.max_in_flight
        if name in self.scenario.own:
            own = self.scenario.own[name]
            slots = min(slots, own.replicas[0] * own.max_sequences)
        running = len(self.running[name])
        if lane is Lane.INTERACTIVE:
            return running < slots
        others = sum(case.kind.lane is not Lane.INTERACTIVE for case in self.running[name])
        kept = kept_for_interactive(replace(target, max_in_flight=slots))
        return running < slots and others < slots - kept

    def start(self, name: str, case: Case) -> None:
        if self.now >= case.deadline_at:
            self.decide(case)
            return
        case.target, case.started_at = name, self.now
        case.work_left = case.job.output + case.job.input / 10
        if name in self.scenario.paid:
            paid = self.scenario.paid[name]
            case.ends_at = self.now + paid.seconds + case.job.output / paid.tokens_per_second
        self.running[name].append(case)

    def decide(self, case: Case) -> None:
        self.look()
        match self.action(case):
            case Run(target=name) as run:
                self.note(case, run)
                case.sent, case.sent_at, case.found = run, self.now, self.stored(name, case.kind.lane)
                if not self.waiting[name] and self.has_room(name, case.kind.lane):
                    self.start(name, case)
                else:
                    self.waiting[name].append(case)
            case Wait(seconds=seconds):
                self.sleeping.append((self.now + seconds, case))
            case Finish() as done:
                self.ends[case.job.bits] = (self.now, done.status, case.attempts[done.attempt - 1].target)
            case GiveUp() as given_up:
                self.ends[case.job.bits] = (self.now, given_up.status, None)

    def action(self, case: Case) -> Action:
        return next_action(self.as_job(case), tuple(case.attempts), self.view(), self.now, self.rules, case.sent)

    def note(self, case: Case, run: Run) -> None:
        lane = case.kind.lane
        if run.reason is not Reason.OVERLOADED:
            self.turning_away.discard((run.target, lane))
            return
        view, job = at_rest(self.view()), self.as_job(case)
        wanted = next_action(job, tuple(case.attempts), view, self.now, self.rules, case.sent)
        if isinstance(wanted, Run) and wanted.target != run.target:
            self.turning_away.add((wanted.target, lane))

    def view(self) -> View:
        targets = {name: TargetView(available=name in self.running) for name in self.rules.catalogue.targets}
        for name, own in self.scenario.own.items():
            targets[name] = TargetView(capacity=Capacity(own.replicas[0]))
        for name in self.running:
            sojourns = {lane: each for (target, lane), each in self.seen.items() if target == name}
            targets[name] = replace(targets[name], sojourns=sojourns)
        return View(targets)

    def as_job(self, case: Case) -> Job:
        text = "x" * int(case.job.input * self.rules.estimates.characters_per_token)
        return Job(
            id=f"{case.job.bits:016x}",
            tenant=case.kind.tenant,
            lane=case.kind.lane,
            task=case.kind.task,
            plan=case.kind.plan,
            request={"messages": [{"role": "user", "content": text}], "max_tokens": case.kind.output.most},
            submitted_at=case.job.arrived_at,
            deadline_at=case.deadline_at,
            cloud=CLOUD_ALLOW if case.kind.cloud else CLOUD_DENY,
        )
