"""The fleet's scaling rules as autoscaling policies of Ray Serve: they read, ask the rules, and return the number.

Serve's controller makes one policy object per deployment, again with every change of its configuration, and calls it at
each turn of its control loop. So a call never waits and never raises: the queue's state comes from a `ReadingSource`,
which looks in the background, and any error leaves the number of replicas as it is.

Serve shows a policy's reasons nowhere. They are in the controller's log, a line whenever the decision changes, and in
the metrics below. Serve pickles this module by value into the controller: so nothing that policies share is kept here.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from ray.util.metrics import Counter, Gauge

from deployments.host import resolve
from deployments.serve.hold import Hold
from fleet.logs import get_logger
from fleet.model.delivery import Depths
from fleet.model.scaling import Capacity, Load, ScalingDecision
from policies.rules.rules import Rules
from policies.scaling.demand import Outlook, waiting
from policies.scaling.dispatchers import DispatcherMemory, dispatchers
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.replicas import ScalerState, decide

_Fields = dict[str, str | int]

LOGGER = "ray.serve"
"""Serve's own logger, whose file the dashboard shows as the controller's log."""

log = get_logger(LOGGER)

DECIDE_SECONDS = 1.0
"""Seconds between decisions; Serve asks up to ten times as often as there is anything new."""

RETRY_SECONDS = 15.0
"""Seconds until the next try if a decision failed, for instance because a file of rules is not there yet."""


class ReadingSource(Protocol):
    """The readings that the policies of one process decide by."""

    @property
    def rules(self) -> Rules: ...

    def latest(self, now: float) -> tuple[Depths, Sequence[Load]] | None:
        """Return the last look at the queue and the reports; None if it failed or is too old. Never waits, but starts
        the next look in the running event loop, which it needs, when one is due.
        """


class _Meters:
    """Prometheus metrics of one scaled deployment; Ray puts `ray_` before their names."""

    def __init__(self, target: str) -> None:
        tags = {"target": target}
        self._wanted = Gauge(
            "fleet_scaling_wanted_replicas", "Replicas there shall be, by the fleet's rules.", ("target",)
        ).set_default_tags(tags)
        self._reason = Gauge(
            "fleet_scaling_reason", "1 for the reason of the last decision.", ("target", "reason")
        ).set_default_tags(tags)
        self._decisions = Counter(
            "fleet_scaling_decisions", "Changes of the decision, by its reason.", ("target", "reason")
        ).set_default_tags(tags)

    def record(self, before: ScalingDecision | None, decision: ScalingDecision) -> None:
        """Record every decision, even unchanged ones: Ray forgets a gauge that it has not heard of for a while."""
        if before is not None and before.reason is not decision.reason:
            self._reason.set(0, {"reason": before.reason})
        self._reason.set(1, {"reason": decision.reason})
        self._wanted.set(decision.replicas)
        if decision != before:
            self._decisions.inc(1, {"reason": decision.reason})


class _Policy(ABC):
    """The common part of the policies: everything but the rule."""

    def __init__(self, target: str, factory: str) -> None:
        """Keep `factory`, which is `module:function` of the `ReadingSource`; it is called later: Serve's controller
        must survive its errors.
        """
        self._target = target
        self._factory = factory
        self._readings: ReadingSource | None = None
        self._meters = _Meters(target)
        self._last: ScalingDecision | None = None
        self._next_at = 0.0
        self._started_at: tuple[float, ...] = ()

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas for an `AutoscalingContext`."""
        return self.replicas(ctx, time.time()), {}

    def replicas(self, ctx: Any, now: float) -> int:
        """Return the number of replicas, unchanged (`ctx.target_num_replicas`) if it is early or something fails."""
        as_it_is: int = ctx.target_num_replicas
        if self._next_at - RETRY_SECONDS <= now < self._next_at:  # a clock may step back
            return as_it_is
        self._next_at = now + DECIDE_SECONDS
        try:
            return self._decided(ctx, now)
        except Exception as error:
            self._next_at = now + RETRY_SECONDS
            log.error("scaling_not_decided", target=self._target, kept=as_it_is, error=repr(error))
            return as_it_is

    def _decided(self, ctx: Any, now: float) -> int:
        readings = self._readings
        if readings is None:
            # Nothing can be decided before the first look has returned.
            self._readings = resolve(self._factory)()
            self._readings.latest(now)
            return int(ctx.target_num_replicas)
        seen = readings.latest(now)
        depths, loads = (None, ()) if seen is None else seen
        reading = ScalingInputs(depths, loads, self._capacity(ctx, now), ctx.total_num_requests)
        start = reading.learned(self._target)
        reading = replace(reading, capacity=replace(reading.capacity, cold_start=start))
        decision = self._rule(reading, _bounds(ctx), readings.rules, now)
        if decision != self._last:
            log.info("scaling", **_step(self._target, reading, decision), **self._waiting(reading, readings.rules))
        self._meters.record(self._last, decision)
        self._last = decision
        return decision.replicas

    def _capacity(self, ctx: Any, now: float) -> Capacity:
        """Return the capacity: replicas Serve wants beyond those running are starting; surplus ones count as gone."""
        running = min(ctx.current_num_replicas, ctx.target_num_replicas)
        starting = ctx.target_num_replicas - running
        # The replicas that started first run first.
        known = self._started_at[max(0, len(self._started_at) - starting) :]
        self._started_at = known + (now,) * (starting - len(known))
        first = self._started_at[0] if self._started_at else None
        return Capacity(running, starting, first, held=_hold(ctx) is not None)

    @abstractmethod
    def _rule(self, reading: ScalingInputs, bounds: ReplicaBounds, rules: Rules, now: float) -> ScalingDecision:
        """Ask the rules, and keep what they want to remember."""

    @abstractmethod
    def _waiting(self, reading: ScalingInputs, rules: Rules) -> _Fields:
        """Return the waiting work, for the log."""


def _step(target: str, reading: ScalingInputs, decision: ScalingDecision) -> _Fields:
    return {
        "target": target,
        "from": reading.there,
        "to": decision.replicas,
        "reason": decision.reason.value,
        "running": reading.capacity.running,
    }


def _hold(ctx: Any) -> Hold | None:
    return Hold.in_force(ctx.config.initial_replicas)


def _bounds(ctx: Any) -> ReplicaBounds:
    """Return Serve's bounds, after `target_capacity`, or the number that an operator holds."""
    hold = _hold(ctx)
    if hold is not None:
        return ReplicaBounds(hold.replicas, hold.replicas)
    return ReplicaBounds(ctx.capacity_adjusted_min_replicas, ctx.capacity_adjusted_max_replicas)


class FleetPolicy(_Policy):
    """Scales the replicas of one target."""

    _memory = ScalerState()

    def _rule(self, reading: ScalingInputs, bounds: ReplicaBounds, rules: Rules, now: float) -> ScalingDecision:
        target = rules.catalogue.targets[self._target]
        decision, self._memory = decide(reading, self._memory, target, bounds, rules, now)
        return decision

    def _waiting(self, reading: ScalingInputs, rules: Rules) -> _Fields:
        if reading.depths is None:
            return {"waiting_tokens": "unknown"}
        target = rules.catalogue.targets[self._target]
        lanes = waiting(
            Outlook(reading.depths, reading.loads, reading.capacity.running, target, rules), self._memory.elsewhere
        )
        return {"waiting_tokens": round(sum(lane.tokens for lane in lanes))}


class DispatcherPolicy(_Policy):
    """Scales the dispatchers by their own lag."""

    _memory = DispatcherMemory()

    def _rule(self, reading: ScalingInputs, bounds: ReplicaBounds, rules: Rules, now: float) -> ScalingDecision:
        decision, self._memory = dispatchers(reading, self._memory, bounds, rules, now)
        return decision

    def _waiting(self, reading: ScalingInputs, rules: Rules) -> _Fields:
        jobs: str | int = "unknown" if reading.depths is None else sum(reading.depths.jobs.values())
        return {"waiting_jobs": jobs}
