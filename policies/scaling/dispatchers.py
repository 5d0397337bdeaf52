"""The number of dispatchers to run, by their own lag."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fleet.model.scaling import ScalingDecision, ScalingReason
from policies.rules.rules import Rules
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.verdict import Words, verdict
from policies.scaling.window import Window, most, wished

BUSY_SHARE = 0.8
"""Mean share of a core above which jobs wait for a dispatcher and not for a target."""

AIM_SHARE = 0.6
"""Share of a core that each dispatcher should use once there are more."""

COMFORT_SHARE = 0.5
"""Maximum share of a core for each dispatcher that is left when others are stopped."""


@dataclass(frozen=True, slots=True)
class DispatcherMemory:
    """The state that a decision hands to the next: the mean share of a core at `at` (unix seconds), recent wishes."""

    at: float | None = None
    cpu_share: float = 0.0
    window: Window = ()


def dispatchers(
    reading: ScalingInputs, memory: DispatcherMemory, bounds: ReplicaBounds, rules: Rules, now: float
) -> tuple[ScalingDecision, DispatcherMemory]:
    """Decide how many dispatchers to run, at least one; `reading.capacity` counts them.

    More are wanted where jobs wait for any target while the dispatchers are busy: one that only waits for targets is
    not. Without the broker, or without a report, their number stays as it is.
    """
    bounds, there = ReplicaBounds(max(1, bounds.least), max(1, bounds.most)), reading.there
    loads = reading.fresh(rules.scaling.stale_seconds, now)
    if reading.depths is None or not loads:
        return verdict(there, there, bounds, Words(*[ScalingReason.BROKER_AWAY] * 3)), memory
    # Dispatchers elsewhere report as well, so the lag here is taken from as many of the busiest as run here.
    busiest = sorted((load.cpu_share for load in loads), reverse=True)[: max(1, there)]
    seen = sum(busiest) / len(busiest)
    cpu_share = _smoothed(memory, seen, rules.scaling.settle_seconds, now)
    direct = sum(jobs for load in loads for jobs in load.direct.values())  # stored in JOBS, and waiting for nobody
    wish = _wish(cpu_share, len(busiest), sum(reading.depths.jobs.values()) > direct, reading)
    before = memory.window if memory.at is not None else ((now, there),)  # a lost memory stops none
    window = wished(before, wish, rules.scaling.settle_seconds, now)
    settled = wish if wish > there else min(there, most(window))
    same = ScalingReason.STARTING if reading.capacity.starting else ScalingReason.STEADY
    if max(wish, bounds.least) < there:
        same = ScalingReason.SETTLING
    words = Words(ScalingReason.BACKLOG, ScalingReason.LESS_WORK, same)
    return verdict(settled, there, bounds, words), DispatcherMemory(now, cpu_share, window)


def _smoothed(memory: DispatcherMemory, seen: float, seconds: float, now: float) -> float:
    if memory.at is None:
        return seen
    weight = -math.expm1(-max(0.0, now - memory.at) / seconds)
    return memory.cpu_share + weight * (seen - memory.cpu_share)


def _wish(cpu_share: float, reporting: int, jobs_wait: bool, reading: ScalingInputs) -> int:
    """Wish for more only once all started ones report; at most double, for nobody knows how the load divides."""
    total = cpu_share * reporting
    if jobs_wait and cpu_share > BUSY_SHARE and reporting >= reading.there:
        return min(2 * reading.there, math.ceil(total / AIM_SHARE))
    return min(reading.there, max(1, math.ceil(total / COMFORT_SHARE)))
