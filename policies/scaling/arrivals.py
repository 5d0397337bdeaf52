"""The rate at which jobs arrive, and the rate of those that cannot wait for a replica to start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.model.job import Lane
from fleet.model.scaling import Load
from policies.scaling.demand import LaneBacklog
from policies.scaling.progress import ThroughputStep

HALF = 0.5
"""Minimum part of a mean that must be known to scale it up to the whole: a second says little about a minute."""


@dataclass(frozen=True, slots=True)
class ArrivalRates:
    """Tokens per second by lane, as decaying means: what arrived, and the minimum that must have.

    `waited` is the number of jobs at the last look. `known` is the part of the means that was seen; the rest is only
    assumed to be nothing, because they began at zero.
    """

    tokens_per_second: Mapping[Lane, float] = field(default_factory=dict)
    at_least: Mapping[Lane, float] = field(default_factory=dict)
    waited: Mapping[Lane, float] = field(default_factory=dict)
    known: float = 0.0

    def of(self, lane: Lane) -> float:
        return max(self.tokens_per_second.get(lane, 0.0), self.at_least.get(lane, 0.0)) / max(HALF, self.known)

    def in_all(self) -> float:
        """Return the tokens per second of all lanes."""
        return max(0.0, sum(self.tokens_per_second.values())) / max(HALF, self.known)


@dataclass(frozen=True, slots=True)
class ArrivalSample:
    """Additions of one look: tokens done and missed in the `seconds` since the one before, and what waits in each lane.

    `mix` is each lane's part of the tokens, `lane_seconds` the time its jobs have from submission to deadline.
    """

    lanes: Sequence[LaneBacklog]
    step: ThroughputStep
    mix: Mapping[Lane, float]
    lane_seconds: Mapping[Lane, float]
    seconds: float

    def came_in(self, lane: LaneBacklog, waited: float) -> float:
        """Return tokens per second: the growth of what waits, plus what was done or went elsewhere.

        It is below zero for a moment where work done is counted before the queue shrinks: that belongs in the mean, or
        noise around zero would look like arrivals.
        """
        done = (self.step.done + self.step.missed) * self.mix.get(lane.lane, 0.0)
        return ((lane.jobs - waited) * lane.tokens_per_job + done) / self.seconds

    def at_least(self, lane: LaneBacklog) -> float:
        """Return the tokens per second that must arrive for so many to wait, as none stays beyond its deadline.

        This is Little's law. It sees what the balance of waiting and done does not: jobs that expire here unserved.
        """
        return lane.tokens / max(lane.slack_seconds, self.lane_seconds[lane.lane])


def observed(before: ArrivalRates, look: ArrivalSample, memory_seconds: float) -> ArrivalRates:
    """Return the means after one more look; they decay with the time constant `memory_seconds`."""
    waited = {lane.lane: lane.jobs for lane in look.lanes}
    if look.seconds <= 0 or not before.waited:
        return replace(before, waited=waited)
    weight = -math.expm1(-look.seconds / memory_seconds)
    came_in = {lane.lane: look.came_in(lane, before.waited.get(lane.lane, 0.0)) for lane in look.lanes}
    at_least = {lane.lane: look.at_least(lane) for lane in look.lanes}
    means = _moved(before.tokens_per_second, came_in, weight), _moved(before.at_least, at_least, weight)
    return ArrivalRates(*means, waited, before.known + weight * (1 - before.known))


def _moved(means: Mapping[Lane, float], seen: Mapping[Lane, float], weight: float) -> Mapping[Lane, float]:
    return {lane: (1 - weight) * means.get(lane, 0.0) + weight * value for lane, value in seen.items()}


def mix_of(loads: Sequence[Load], lanes: Sequence[LaneBacklog], target: str) -> Mapping[Lane, float]:
    """Return each lane's part of the target's tokens: as the dispatchers recently sent them, else as they wait now."""
    tokens = dict.fromkeys(Lane, 0.0)
    for load in loads:
        for work, each in load.lanes.items():
            if work.target == target:
                tokens[work.lane] += each.jobs * each.tokens_per_job
    if not any(tokens.values()):
        tokens |= {lane.lane: lane.tokens for lane in lanes}
    total = sum(tokens.values())
    return {lane: part / total for lane, part in tokens.items()} if total else {}


def urgent(arrivals: ArrivalRates, lanes: Sequence[LaneBacklog], cold_seconds: float, headroom: float) -> float:
    """Return tokens per second of the lanes whose time, its `headroom`, ends before a replica started now is there.

    For the other lanes it is soon enough to act on what has piled up.
    """
    return sum(arrivals.of(lane.lane) for lane in lanes if headroom * lane.slack_seconds <= cold_seconds)
