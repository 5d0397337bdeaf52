"""Builds one dispatcher from its parts. Each is given only what it uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

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
from fleet.dispatch.runner.batch import BatchRun
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
from fleet.dispatch.runner.stages.reserve_cost import ReserveCost
from fleet.dispatch.runner.suspects import Suspects
from fleet.dispatch.runner.turns import Turns
from fleet.dispatch.semantic.lookups import LookUps, SemanticCache
from fleet.dispatch.semantic.promises import Promises
from fleet.dispatch.spans import Spans
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
from fleet.ports import Backend, CacheStore, Cancels, Clock, JobQueue, LoadBook, Recorder, SpendBook, Tracer
from policies.rules.rules import Rules


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
        spend: SpendBook,
        learned: Learned,
        cancels: Cancels,
        loads: LoadBook,
        recorder: Recorder | None = None,
        cache: CacheStore | None = None,
        similar: SemanticCache | None = None,
        trials: Trials | None = None,
    ) -> None:
        self.queue = queue
        self.clock = clock
        self.rules = rules
        self.state = FleetState(served, rules, own_key_only, spend.seen)
        self.reporter = Reporter(loads, self._load, clock, rules)
        self.peers = Peers(loads, queue, clock, self.reporter.id, rules.catalogue.targets, served)
        self.leases = Leases(queue, lease_seconds, self.state.traffic.direct)
        self.spans = Spans(tracer, rules)
        self.isolation = Isolation()
        self.precedence = Precedence()
        self.reservations = CostReservations(spend, rules)
        self.similar = LookUps(None if similar is None else similar.questions, rules, self.state.announce)
        self.promises = Promises(None if similar is None else similar.promises, rules)
        self.answers = Answers(cache, rules, self.similar, self.promises.disowned)
        self.state.entries, self.state.near = self.answers.entries, self.similar.near
        self.state.cache_promises = self.promises.in_force
        self.experiments = Experiments(trials, rules)
        self.knowledge = Knowledge(learned, self.state, rules, self.answers.withdraw, self.experiments.rules)
        self.diets = Diets(self.experiments.rules)
        self.cancelling = Cancelling(cancels, queue, clock)
        self.recorder = recorder
        self.outbox = Outbox(queue, clock, self.state, self.leases, self.spans, recorder)
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
        clock, rules, state, reservations = self.clock, self.rules, self.state, self.reservations
        buffer = Buffer(target)
        slots = Slots(target, state.traffic, self.leases, buffer.changed.set)
        here = TargetDecider(target, self.decider, state, clock)
        leaving = Exit(self.outbox, slots, reservations, here, state)
        intents = IntentLog(target, self.queue, clock, self.cancelling.answered)
        turns = Turns(target, clock, self.isolation, here, reservations, leaving)
        judging = (self.knowledge, self.decider, leaving, self.precedence, self.diets)
        assess = Assess(target, rules, clock, state, reservations, *judging)
        calling = (self.cancelling, self.spans, here, leaving, assess, self.diets, self.recorder)
        execute = Execute(target, backend, rules, clock, *calling)
        suspects = Suspects(target, clock, intents, turns, here, execute, leaving)
        recorded = (intents, turns, reservations, here, execute, assess, leaving)
        paid = PaidCalls(target, clock, state, self.isolation, *recorded)
        cancel = Cancel(self.cancelling, intents, here, state, clock)
        reserve_cost = ReserveCost(target, reservations, here, state, clock)
        run_batch = BatchRun(target, slots, leaving, cancel, reserve_cost, suspects, paid)
        taking = (self.queue, clock, rules, state, self.leases, self.receiver(), self.precedence)
        collector = Collector(target, *taking, here, buffer)
        feeder = Feeder(target, clock, state, self.outbox, here, buffer, slots, run_batch)
        self.direct.open(target, buffer)
        return Runner(collector, buffer, feeder, turns)
