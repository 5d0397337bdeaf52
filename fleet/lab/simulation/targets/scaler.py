"""The scalers of replicas: production's own policy, Ray Serve's default, or a fixed number."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from fleet.lab.simulation.workload.scenario import Own, ScalingKind, ScalingSetup
from fleet.model.target import Target
from policies.rules.rules import Rules
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.replicas import ScalerState, decide

UPSCALE_SECONDS = 30.0
DOWNSCALE_SECONDS = 600.0
LOOK_BACK_SECONDS = 30.0
"""Ray Serve 2.60's defaults: `upscale_delay_s`, `downscale_delay_s`, `look_back_period_s`."""


class Scaler(Protocol):
    def wanted(self, reading: ScalingInputs, now: float) -> int:
        """Return how many replicas to have, running and starting ones together."""


class FleetScaler:
    """Scales by production's policy, `policies.scaling.replicas.decide`."""

    def __init__(self, target: Target, bounds: ReplicaBounds, rules: Rules) -> None:
        self._target, self._bounds, self._rules = target, bounds, rules
        self._memory = ScalerState()

    def wanted(self, reading: ScalingInputs, now: float) -> int:
        decision, self._memory = decide(reading, self._memory, self._target, self._bounds, self._rules, now)
        return decision.replicas


class RayServeScaler:
    """Scales like `ray.serve.autoscaling_policy` by default: ongoing requests over a target of them, with two delays.

    The count is a mean over the look-back; more replicas come after the wish for more has lasted UPSCALE_SECONDS, at
    once where there are none; fewer after DOWNSCALE_SECONDS. It sees the requests sent to the replicas, not those that
    wait in a broker.
    """

    def __init__(self, bounds: ReplicaBounds, ongoing: float) -> None:
        self._bounds, self._ongoing = bounds, ongoing
        self._seen: deque[tuple[float, float]] = deque()
        self._wish_since: float | None = None
        self._wished_more = False

    def wanted(self, reading: ScalingInputs, now: float) -> int:
        there = reading.there
        wanted = math.ceil(self._mean(reading.ongoing, now) / self._ongoing)
        wish = max(self._bounds.least, min(wanted, self._bounds.most))
        if wish == there:
            self._wish_since = None
            return there
        more = wish > there
        if self._wish_since is None or more is not self._wished_more:
            self._wish_since, self._wished_more = now, more
        if more and there == 0:
            return wish
        lasted = now - self._wish_since
        if lasted < (UPSCALE_SECONDS if more else DOWNSCALE_SECONDS):
            return there
        self._wish_since = None
        # The last replica is stopped only by itself, never together with others.
        return wish if more or there == 1 else max(1, wish)

    def _mean(self, ongoing: float, now: float) -> float:
        self._seen.append((now, ongoing))
        while self._seen[0][0] < now - LOOK_BACK_SECONDS:
            self._seen.popleft()
        return sum(count for _, count in self._seen) / len(self._seen)


class FixedScaler:
    """Keeps the minimum number, always; a replica that was lost is replaced."""

    def __init__(self, bounds: ReplicaBounds) -> None:
        self._bounds = bounds

    def wanted(self, reading: ScalingInputs, now: float) -> int:
        return self._bounds.least


def scaler_of(scaling: ScalingSetup, target: Target, own: Own, rules: Rules) -> Scaler:
    bounds = ReplicaBounds(*own.replicas)
    match scaling.by:
        case ScalingKind.FLEET:
            return FleetScaler(target, bounds, rules)
        case ScalingKind.RAY_SERVE:
            return RayServeScaler(bounds, scaling.ongoing)
        case ScalingKind.FIXED:
            return FixedScaler(bounds)
