"""Builds one dispatcher from its parts. Each is given only what it uses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from fleet.dispatch.decide import Decider
from fleet.dispatch.intake.admission import Admission
from fleet.dispatch.intake.asking import Asking
from fleet.dispatch.intake.direct import DirectEntry
from fleet.dispatch.intake.fair_lane import FairLane
from fleet.dispatch.intake.intake import Intake
from fleet.dispatch.intake.lines import Lines
from fleet.dispatch.intake.quotas import Quotas
from fleet.dispatch.intake.refusals import Refusals
from fleet.dispatch.maintenance.cancelling import Cancelling
from fleet.dispatch.maintenance.orphans import OrphanRescuer
from fleet.dispatch.maintenance.rollouts import RolloutWatch
from fleet.dispatch.outbox import Outbox
from fleet.dispatch.receiving.isolation import Isolation
from fleet.dispatch.receiving.precedence import Precedence
from fleet.dispatch.receiving.receiver import Receiver
from fleet.dispatch.runner.batch import BatchRun, MakeCalls, RecordedCalls
from fleet.dispatch.runner.buffer import Buffer
from fleet.dispatch.runner.collector import Collector
from fleet.dispatch.runner.cost_reservations import CostReservations
from fleet.dispatch.runner.feeder import Feeder
from fleet.dispatch.runner.here import TargetDecider
from fleet.dispatch.runner.intents import IntentLog
from fleet.dispatch.runner.paid import PaidCalls
from fleet.dispatch.runner.runner import Runner
from fleet.dispatch.runner.slots import Exit, Slots
from fleet.dispatch.runner.stages.assess import Assess
from fleet.dispatch.runner.stages.cancel import Cancel
from fleet.dispatch.runner.stages.diet import Diets
from fleet.dispatch.runner.stages.execute import Execute
from fleet.dispatch.runner.stages.parked import Parked
from fleet.dispatch.runner.stages.passed import Stage
from fleet.dispatch.runner.stages.reserve_cost import ReserveCost
from fleet.dispatch.runner.suspects import Suspects
from fleet.dispatch.runner.turns import Turns
from fleet.dispatch.semantic.lookups import LookUps, SemanticCache
from fleet.dispatch.semantic.promises import Promises
from fleet.dispatch.spans import Spans
from fleet.dispatch.state.adapters import Adapters
from fleet.dispatch.state.answers import Answers
from fleet.dispatch.state.experiments import Experiments, Trials
from fleet.dispatch.state.knowledge import Knowledge, Learned
from fleet.dispatch.state.lease import Leases
from fleet.dispatch.state.load import Reporter
from fleet.dispatch.state.peers import Peers
from fleet.dispatch.state.snapshots import Snapshots
from fleet.dispatch.state.state import FleetState
from fleet.model.job import Lane
from fleet.model.scaling import Load
from fleet.model.target import Target
from fleet.ports import (
    AdapterStore,
    Backend,
    BatchedCalls,
    CacheStore,
    Cancels,
    Clock,
    JobQueue,
    LoadBook,
    Recorder,
    SpendBook,
    Tracer,
)
from policies.rules.rules import Rules


@dataclass(frozen=True, slots=True)
class Shared:
    """What a dispatcher shares with others: money, what is learned, wishes to cancel, loads, answers, experiments.

    `recorder` counts what is done; it and what follows, the registered adapters too, may be missing.
    """

    spend: SpendBook
    learned: Learned
    cancels: Cancels
    loads: LoadBook
    recorder: Recorder | None = None
    cache: CacheStore | None = None
    similar: SemanticCache | None = None
    trials: Trials | None = None
    adapters: AdapterStore | None = None


class Parts:
    """The parts shared by a dispatcher's other parts. They are handed out here; no part receives all of them."""

    def __init__(
        self,
        queue: JobQueue,
        clock: Clock,
        rules: Rules,
        served: Collection[str],
        own_key_only: Collection[str],
        tracer: Tracer | None,
        lease_seconds: float,
        shared: Shared,
    ) -> None:
        similar, trials = shared.similar or SemanticCache(), shared.trials
        self.queue, self.clock, self.rules = queue, clock, rules
        self.state = FleetState(served, rules, own_key_only, shared.spend.seen)
        self.reporter = Reporter(shared.loads, self._load, clock, rules)
        self.peers = Peers(shared.loads, queue, clock, self.reporter.id, rules.catalogue.targets, served)
        self.leases = Leases(queue, lease_seconds, self.state.traffic.direct)
        self.spans = Spans(tracer, rules)
        self.isolation, self.precedence = Isolation(), Precedence()
        self.reservations = CostReservations(shared.spend, rules)
        self.similar = LookUps(similar.questions, rules, self.state.announce, similar.verifier)
        self.promises = Promises(similar.promises, rules)
        self.answers = Answers(shared.cache, rules, self.similar, self.promises.disowned)
        self.state.entries, self.state.near = self.answers.entries, self.similar.near
        self.state.cache_promises = self.promises.in_force
        self.experiments = Experiments(trials, rules)
        self.adapters = Adapters(shared.adapters, self.state, self.experiments.rules)
        self.knowledge = Knowledge(shared.learned, self.state, rules, self.answers.withdraw, self.experiments.rules)
        self.diets = Diets(self.experiments.rules)
        self.cancelling = Cancelling(shared.cancels, queue, clock)
        self.recorder = shared.recorder
        self.outbox = Outbox(queue, clock, self.state, self.leases, self.spans, shared.recorder)
        self.snapshots = Snapshots(queue, clock, self.state, self.knowledge, self.similar, self.promises)
        store = None if trials is None else trials.store
        self.rollouts = RolloutWatch(store, self.experiments, lambda: self.peers.is_first, clock)
        learning = (self.knowledge, self.answers, self.promises, self.experiments)
        self.decider = Decider(rules, self.state, self.cancelling, *learning)
        self.direct = DirectEntry(rules, self.state, self.leases, self.decider)
        self.admission = Admission(rules, self.state, self.peers, self.decider, self.answers, self.similar)
        self.quotas = Quotas(rules, clock, self.state.traffic)

    def _load(self, dispatcher: str, at: float, cpu_share: float) -> Load:
        return replace(self.state.load(dispatcher, at, cpu_share), held=len(self.leases))

    def receiver(self) -> Receiver:
        """Return a receiver for one loop that takes messages."""
        shared = (self.queue, self.clock, self.rules, self.leases, self.isolation, self.outbox)
        return Receiver(*shared, self.precedence, self.experiments)

    def intake(self) -> Intake:
        return Intake(self.fair_lane)

    def fair_lane(self, lane: Lane) -> FairLane:
        admission, quotas = self.admission, self.quotas
        clock, rules, state, leases = self.clock, self.rules, self.state, self.leases
        receiver, lines = self.receiver(), Lines()
        asking = Asking(lane, state, leases, quotas, lines, receiver)
        refusals = Refusals(lane, clock, rules, state, self.peers, leases, receiver, admission, lines)
        taking = (self.queue, clock, rules, state, leases, receiver, self.precedence)
        return FairLane(lane, *taking, admission, self.direct, quotas, lines, asking, refusals)

    def rescuer(self) -> OrphanRescuer:
        shared = (self.queue, self.clock, self.state, self.peers, self.leases, self.outbox)
        return OrphanRescuer(*shared, self.receiver(), self.decider)

    def runner(self, target: Target, backend: Backend) -> Runner:
        """Return the runner of a target whose calls are made one by one."""
        clock, rules, state, at = self.clock, self.rules, self.state, _AtTarget(self, target)
        calling = (self.cancelling, self.spans, at.here, at.leaving, at.assess, self.diets, self.recorder)
        execute = Execute(target, backend, rules, clock, *calling)
        suspects = Suspects(target, clock, at.intents, at.turns, at.here, execute, at.leaving)
        recorded = (at.intents, at.turns, self.reservations, at.here, execute, at.assess, at.leaving)
        paid = PaidCalls(target, clock, state, self.isolation, *recorded)
        return self._running(at, (at.cancel, at.reserve_cost), RecordedCalls(suspects, paid))

    def parked_runner(self, target: Target, batches: BatchedCalls) -> Runner:
        """Return the runner of a target whose calls go out in batches of its provider."""
        at = _AtTarget(self, target)
        shared = (self.rules, self.clock, self.state, self.reservations, at.here, at.leaving, at.assess)
        parked = Parked(target, batches, *shared)
        return self._running(at, (at.cancel, parked.look, at.reserve_cost), parked.send)

    def _running(self, at: _AtTarget, stages: Sequence[Stage], make_calls: MakeCalls) -> Runner:
        clock, rules, state, target = self.clock, self.rules, self.state, at.target
        run_batch = BatchRun(target, at.slots, at.leaving, stages, make_calls)
        taking = (self.queue, clock, rules, state, self.leases, self.receiver(), self.precedence)
        collector = Collector(target, *taking, at.here, at.buffer)
        feeder = Feeder(target, clock, state, self.outbox, at.here, at.buffer, at.slots, run_batch)
        self.direct.open(target, at.buffer)
        return Runner(collector, at.buffer, feeder, at.turns)


class _AtTarget:
    """What every runner of a target has of its own."""

    def __init__(self, parts: Parts, target: Target) -> None:
        clock, rules, state, reservations = parts.clock, parts.rules, parts.state, parts.reservations
        self.target = target
        self.buffer = Buffer(target, None if target.adapters is None else partial(parts.adapters.of_call, target))
        self.slots = Slots(target, state.traffic, parts.leases, self.buffer.changed.set)
        self.here = TargetDecider(target, parts.decider, state, clock)
        self.leaving = Exit(parts.outbox, self.slots, reservations, self.here, state)
        self.intents = IntentLog(target, parts.queue, clock, parts.cancelling.answered)
        self.turns = Turns(target, clock, parts.isolation, self.here, reservations, self.leaving)
        judging = (parts.knowledge, parts.decider, self.leaving, parts.precedence, parts.diets, parts.adapters)
        self.assess = Assess(target, rules, clock, state, reservations, *judging)
        self.cancel = Cancel(parts.cancelling, self.intents, self.here, state, clock)
        self.reserve_cost = ReserveCost(target, reservations, self.here, state, clock)
