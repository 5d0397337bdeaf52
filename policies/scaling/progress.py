"""The progress of the dispatchers' counters between two looks, and a replica's speed learned from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.model.scaling import Load

LEAD_IN_SECONDS = 10.0
"""Seconds from when a target has enough to do until its answers come at the full rate of its replicas."""

MEASURE_SECONDS = 10.0
"""Seconds of one measurement: reports come about every second, and one that slips in adds a tenth too much."""

SILENT_SECONDS = 60.0
"""Seconds that long jobs which all began together may take until the first of them ends."""

PRIOR_SECONDS = 60.0
"""Weight of the catalogue's rate against measurements, in seconds."""

REMEMBERED_SECONDS = 600.0
"""Busy seconds after which older measurements are gradually forgotten."""

FARTHEST = 10.0
"""Factor by which a measured rate may at most be above or below the catalogue's."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A dispatcher's counts for the target, in tokens, in its report from `at`."""

    at: float
    done: float
    missed: float


@dataclass(frozen=True, slots=True)
class ThroughputStep:
    """Tokens done and missed since the look before. `whole`: every dispatcher was there then, and still is."""

    done: float = 0.0
    missed: float = 0.0
    whole: bool = True


def advance(
    before: Mapping[str, Counter], loads: Sequence[Load], target: str
) -> tuple[ThroughputStep, Mapping[str, Counter]]:
    """Return the step to these reports. A dispatcher that comes, goes or restarts moves nothing."""
    done = missed = 0.0
    whole = 0 < len(before) == len(loads)  # nobody reports: nothing was measured, not nothing done
    counters: dict[str, Counter] = {}
    for load in loads:
        now = Counter(load.at, load.tokens_done.get(target, 0.0), load.tokens_missed.get(target, 0.0))
        last = before.get(load.dispatcher)
        if last is None or now.done < last.done or now.missed < last.missed:
            whole = False
        elif now.at > last.at:
            done, missed = done + now.done - last.done, missed + now.missed - last.missed
        else:
            now = last
        counters[load.dispatcher] = now
    return ThroughputStep(done, missed, whole), counters


@dataclass(frozen=True, slots=True)
class Stint:
    """A measurement: `tokens` done from `since` on by `running` replicas that always had enough to do."""

    since: float
    running: int
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second of one replica: a mean of what was measured, over so many `seconds`."""

    tokens_per_second: float = 0.0
    seconds: float = 0.0
    stint: Stint | None = field(default=None)

    def blended(self, prior: float) -> float:
        """Return the mean, mixed with the catalogue's `prior` as long as little was measured."""
        weighed = prior * PRIOR_SECONDS + self.tokens_per_second * self.seconds
        return weighed / (PRIOR_SECONDS + self.seconds)


def learned(rate: Rate, step: ThroughputStep, running: int, busy: bool, prior: float, now: float) -> Rate:
    """Return the rate after a step. `busy`: at both its ends the target had all the jobs it can run at once."""
    stint = rate.stint
    if not busy or not step.whole or running <= 0:
        return replace(rate, stint=None)
    if stint is None or stint.running != running:
        return replace(rate, stint=Stint(now + LEAD_IN_SECONDS, running))
    if now <= stint.since:
        return rate
    stint = replace(stint, tokens=stint.tokens + step.done)
    seconds = now - stint.since
    if seconds < MEASURE_SECONDS or (not stint.tokens and seconds < SILENT_SECONDS):
        return replace(rate, stint=stint)
    if not stint.tokens:  # it fails, or is away: nothing was measured
        return replace(rate, stint=Stint(now, running))
    sample = max(prior / FARTHEST, min(stint.tokens / seconds / running, prior * FARTHEST))
    known = min(rate.seconds, REMEMBERED_SECONDS)
    mean = (rate.tokens_per_second * known + sample * seconds) / (known + seconds)
    return Rate(mean, known + seconds, Stint(now, running))
