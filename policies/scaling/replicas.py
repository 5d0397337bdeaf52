"""The number of replicas of a target to run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.model.delivery import Depths
from fleet.model.errors import ConfigError
from fleet.model.scaling import Capacity, ScalingDecision, ScalingReason
from fleet.model.target import Serving, Target
from policies.rules.rules import Rules
from policies.scaling.arrivals import ArrivalRates, ArrivalSample, mix_of, observed, urgent
from policies.scaling.cold_starts import cold_seconds
from policies.scaling.demand import Elsewhere, LaneBacklog, Outlook, elsewhere_after, waiting
from policies.scaling.need import LEAST_WORK, Need, Stock, TokenRates, needed
from policies.scaling.progress import Counter, Rate, advance, learned
from policies.scaling.reading import ReplicaBounds, ScalingInputs
from policies.scaling.verdict import Words, verdict
from policies.scaling.window import Window, most, wished

ANY_WORK = 0.5
"""Minimum expected jobs that count as work: one is then more likely than not."""


@dataclass(frozen=True, slots=True)
class ScalerState:
    """The state that a decision hands to the next one for the same target. It does not grow with time.

    Where it is lost, present replicas stay for as long as after any other decision. `at` is when the last one was made,
    `busy_at` when there last was work, in unix seconds.
    """

    at: float | None = None
    busy_at: float | None = None
    counters: Mapping[str, Counter] = field(default_factory=dict)
    rate: Rate = field(default_factory=Rate)
    arrivals: ArrivalRates = field(default_factory=ArrivalRates)
    elsewhere: Elsewhere = field(default_factory=dict)
    window: Window = ()


def decide(
    reading: ScalingInputs, memory: ScalerState, target: Target, bounds: ReplicaBounds, rules: Rules, now: float
) -> tuple[ScalingDecision, ScalerState]:
    """Decide how many replicas to have, running and starting ones together, and what to remember for the next time.

    Laws: the same arguments give the same decision. The number keeps to `bounds`. More tokens, or less slack as long
    as it is more than a cold start takes, never ask for fewer replicas. Without work there are never more than before.
    Raises: ConfigError if the target does not say what a replica does.
    """
    if target.serving is None:
        raise ConfigError(f"targets.{target.name}.serving", "is missing: replicas cannot be counted without it")
    if reading.depths is None:
        return _unseen(reading, memory, target, bounds, rules, now)
    if memory.at is None:
        memory = replace(memory, window=(*memory.window, (now, reading.there)))
    share = 1.0 if target.adapters is None else target.adapters.speed
    speed, seconds = target.serving.tokens_per_second * share, cold_seconds(target, reading.capacity)
    serving = replace(target.serving, tokens_per_second=speed, cold_seconds=seconds)
    lanes, has_work, memory = _look(reading, reading.depths, memory, target, serving, rules, now)
    need = _need(lanes, reading, memory, target, serving, rules, now)
    there = reading.there
    wish = max(1, need.replicas) if has_work else min(there, need.replicas)
    memory = replace(memory, window=wished(memory.window, wish, rules.scaling.settle_seconds, now))
    settled = wish if wish > there else min(there, _kept(memory, reading.capacity, serving, rules, now))
    return verdict(settled, there, bounds, _words(need, wish, settled, reading, bounds)), memory


def _unseen(
    reading: ScalingInputs, memory: ScalerState, target: Target, bounds: ReplicaBounds, rules: Rules, now: float
) -> tuple[ScalingDecision, ScalerState]:
    """Keep all present replicas while nobody knows what waits, and add what Serve's own count needs."""
    wish = max(reading.there, _batches(reading.ongoing, target))
    window = wished(memory.window, wish, rules.scaling.settle_seconds, now)
    words = Words(*[ScalingReason.BROKER_AWAY] * 3)
    decision = verdict(wish, reading.there, bounds, words)
    return decision, replace(memory, busy_at=now, window=window, rate=replace(memory.rate, stint=None))


def _batches(ongoing: float, target: Target) -> int:
    """Return the replicas for so many requests, each with as many as a dispatcher keeps running on the target."""
    return math.ceil(ongoing / target.max_in_flight)


def _look(
    reading: ScalingInputs,
    depths: Depths,
    memory: ScalerState,
    target: Target,
    serving: Serving,
    rules: Rules,
    now: float,
) -> tuple[Sequence[LaneBacklog], bool, ScalerState]:
    """Return what waits by lane, whether there is work at all, and the memory with all that this reading teaches."""
    running, seconds = reading.capacity.running, 0.0 if memory.at is None else max(0.0, now - memory.at)
    loads = reading.fresh(rules.scaling.stale_seconds, now)
    outlook = Outlook(depths, loads, running, target, rules)
    step, counters = advance(memory.counters, loads, target.name)
    elsewhere = elsewhere_after(memory.elsewhere, outlook, seconds)
    lanes = waiting(outlook, elsewhere)
    busy = outlook.busy and seconds <= rules.scaling.stale_seconds
    look = ArrivalSample(lanes, step, mix_of(loads, lanes, target.name), rules.lane_seconds, seconds)
    rate = learned(memory.rate, step, running, busy, serving.tokens_per_second, now)
    arrivals = observed(memory.arrivals, look, rules.scaling.settle_seconds)
    # Jobs that went elsewhere are served there; a replica is started for a stream of them, not for one.
    missed = step.missed > 0 and (reading.there > 0 or _is_stream(arrivals, rate.blended(serving.tokens_per_second)))
    has_work = sum(lane.jobs for lane in lanes) >= ANY_WORK or reading.ongoing > 0 or missed
    learned_now = replace(
        memory,
        at=now,
        busy_at=now if has_work or memory.busy_at is None else memory.busy_at,
        counters=counters,
        rate=rate,
        arrivals=arrivals,
        elsewhere=elsewhere,
    )
    return lanes, has_work, learned_now


def _is_stream(arrivals: ArrivalRates, tokens_per_second: float) -> bool:
    return arrivals.in_all() >= LEAST_WORK * tokens_per_second


def _need(
    lanes: Sequence[LaneBacklog],
    reading: ScalingInputs,
    memory: ScalerState,
    target: Target,
    serving: Serving,
    rules: Rules,
    now: float,
) -> Need:
    capacity, scaling = reading.capacity, rules.scaling
    started_at = now if capacity.starting_at is None else capacity.starting_at
    stock = Stock(
        running=capacity.running,
        starting=capacity.starting,
        warm_in_seconds=max(0.0, started_at + serving.cold_seconds - now),
        cold_seconds=serving.cold_seconds,
        tokens_per_second=memory.rate.blended(serving.tokens_per_second),
        batch_size=target.batch_size,
    )
    arrivals = memory.arrivals
    stream = TokenRates(arrivals.in_all(), urgent(arrivals, lanes, serving.cold_seconds, scaling.headroom))
    return needed(lanes, stream, stock, scaling.headroom, scaling.utilisation)


def _kept(memory: ScalerState, capacity: Capacity, serving: Serving, rules: Rules, now: float) -> int:
    """Return what may not stop yet: the recent maximum of wishes, and the last replica until it was idle long enough.

    A start is not idle time: one given up before it is warm was paid for nothing, and the next job would begin again.
    """
    since = now if memory.busy_at is None else memory.busy_at
    if capacity.running == 0 and capacity.starting_at is not None:
        since = max(since, capacity.starting_at + serving.cold_seconds)
    idle_seconds = now - since
    if idle_seconds >= max(rules.scaling.idle_seconds, rules.scaling.settle_seconds):
        return 0
    return max(most(memory.window), 1)


def _words(need: Need, wish: int, settled: int, reading: ScalingInputs, bounds: ReplicaBounds) -> Words:
    more = ScalingReason.DEADLINE if need.for_backlog >= need.for_arrivals else ScalingReason.ARRIVALS
    if reading.there == 0:
        more = ScalingReason.FIRST_WORK
    fewer = ScalingReason.LESS_WORK if settled > 0 else ScalingReason.IDLE
    if max(wish, bounds.least) < reading.there:
        same = ScalingReason.SETTLING
    elif reading.capacity.starting:
        same = ScalingReason.STARTING
    else:
        same = ScalingReason.NOT_WORTH_A_START if need.late else ScalingReason.STEADY
    return Words(more, fewer, same)
