"""Events beside the jobs: replicas come and go, machines are lost, and samples of the state are recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fleet.lab.simulation.dispatch_report import depths_of
from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.targets.scaler import scaler_of
from fleet.lab.simulation.targets.server import OwnServer
from fleet.lab.simulation.workload.scenario import DAY_SECONDS
from policies.scaling.reading import ScalingInputs

SAMPLES = 600
"""Samples that the history keeps, whatever time they span; every other one goes when there are twice as many."""


@dataclass(frozen=True, slots=True)
class UpkeepSample:
    """The state of the simulation `at` (seconds since the start)."""

    at: float
    replicas: dict[str, int]
    waiting: dict[str, int]
    arrived: int


@dataclass(slots=True)
class History:
    samples: list[UpkeepSample] = field(default_factory=list)
    _every: int = 1
    _seen: int = 0

    def note(self, sample: Callable[[], UpkeepSample]) -> None:
        self._seen += 1
        if self._seen % self._every == 0:
            self.samples.append(sample())
            if len(self.samples) >= 2 * SAMPLES:
                self.samples = self.samples[1::2]
                self._every *= 2


class Upkeep:
    """Looks after the engine every `scaling.every_seconds`, for as long as it runs."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._every_seconds = engine.scenario.scaling.every_seconds
        self._rng = np.random.default_rng((seed, 1))
        self._scalers = {
            name: scaler_of(engine.scenario.scaling, server.target, server.own, engine.rules)
            for name, server in engine.own.items()
        }
        self.history = History()
        for server in engine.own.values():
            if server.own.spot and server.own.losses_per_day > 0:
                self._plan_loss(server, 0.0)
        self._tick(None, 0.0)

    def _tick(self, _: None, now: float) -> None:
        engine = self._engine
        engine.state.new_day(now)
        engine.conclude_overdue(now)
        self._scale(now)
        self.history.note(partial(self._sample, now))
        engine.at(now + self._every_seconds, self._tick)

    def _scale(self, now: float) -> None:
        own = self._engine.own
        loads, depths = (self._engine.report.at(now, own),), depths_of(self._engine.servers)
        for name, server in own.items():
            reading = ScalingInputs(depths, loads, server.capacity(), float(server.ongoing))
            self._resize(server, self._scalers[name].wanted(reading, now), now)
        if self._engine.state.warming:
            self._engine.state.touch()  # a decision holds until the next tick, though its wait gets shorter
        for server in own.values():
            if server.asleep:
                self._engine.wake(server, now)

    def _resize(self, server: OwnServer, wanted: int, now: float) -> None:
        for _ in range(wanted - server.there):
            server.ask_for(now)
            self._engine.at(now + server.serving.cold_seconds, self._ready, (server, now))
        if wanted < server.there:
            server.let_go(server.there - wanted, now)
        self._engine.state.note_capacities()

    def _ready(self, asked: tuple[OwnServer, float], now: float) -> None:
        """Let a replica run unless it was removed before."""
        server, asked_at = asked
        if server.starting and server.starting[0] <= asked_at:
            server.ready(now)
            self._engine.state.note_capacities()
            self._engine.wake(server, now)
            self._engine.refill(server, now)

    def _plan_loss(self, server: OwnServer, now: float) -> None:
        """Plan the next possible loss of a machine: at the rate of the maximum number, thinned to the present one."""
        rate = server.own.replicas[1] * server.own.losses_per_day / DAY_SECONDS
        self._engine.at(now + float(self._rng.exponential(1 / rate)), self._maybe_lose, server)

    def _maybe_lose(self, server: OwnServer, now: float) -> None:
        if self._rng.random() * server.own.replicas[1] < server.pool.replicas:
            self._engine.lose(server, now)
        self._plan_loss(server, now)

    def _sample(self, now: float) -> UpkeepSample:
        engine = self._engine
        replicas = {name: server.pool.replicas for name, server in engine.own.items()}
        waiting = {name: server.waiting for name, server in engine.servers.items()}
        return UpkeepSample(now, replicas, waiting, engine.tally.arrived)
