"""The work waiting for a target: jobs, tokens and the time until their deadlines, by lane."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.model.delivery import Depths, WorkOf
from fleet.model.job import Lane, Plan, Tier
from fleet.model.scaling import LaneLoad, Load
from fleet.model.target import Target
from policies.rules.rules import Rules

ROOM = 0.5
"""Part of a target's slots below which its work leaves room: dispatchers fill them all, but not at every moment."""

DEFAULT_JOBS = 1.0
"""Weight of the default ladder against reports, in jobs: next to nothing once there are any reports."""

Elsewhere = Mapping[Lane, float]
"""Jobs by lane that stay in JOBS while the target has room: not due yet, held back, or for another target."""


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """The jobs that wait or run in one lane. `jobs` is expected, not counted: part of them may yet go elsewhere.

    `tokens_per_job` is prompt and answer together, `slack_seconds` the mean time left until the deadline.
    """

    lane: Lane
    jobs: float
    tokens_per_job: float
    slack_seconds: float

    @property
    def tokens(self) -> float:
        return self.jobs * self.tokens_per_job


@dataclass(frozen=True, slots=True)
class Outlook:
    """The material of demand: `depths` and fresh `loads`, and how many replicas of `target` run."""

    depths: Depths
    loads: Sequence[Load]
    running: int
    target: Target
    rules: Rules

    def work(self, lane: Lane) -> int:
        """Return the jobs for which the target was chosen: those on WORK, and those that run without a message."""
        work = WorkOf(self.target.name, lane)
        return self.depths.work.get(work, 0) + sum(load.direct.get(work, 0) for load in self.loads)

    def jobs(self, lane: Lane) -> int:
        """Return the jobs of all tenants for which no target was chosen yet."""
        stored = sum(jobs for source, jobs in self.depths.jobs.items() if source.lane is lane)
        running = sum(jobs for load in self.loads for work, jobs in load.direct.items() if work.lane is lane)
        return max(0, stored - running)

    def has_room(self, lane: Lane) -> bool:
        """Return whether dispatchers would bring more work; jobs that still stay in JOBS are not for this target."""
        return self.work(lane) < ROOM * self.target.max_in_flight

    @property
    def busy(self) -> bool:
        """True if the running replicas have all the jobs they can run at once."""
        enough = min(self.target.batch_size * self.running, self.target.max_in_flight)
        return sum(map(self.work, Lane)) >= enough


def waiting(outlook: Outlook, elsewhere: Elsewhere) -> tuple[LaneBacklog, ...]:
    """Return what waits in every lane: the target's work, and its share of the jobs not decided on yet."""
    return tuple(_in_lane(lane, outlook, elsewhere.get(lane, 0.0)) for lane in Lane)


def _in_lane(lane: Lane, outlook: Outlook, elsewhere: float) -> LaneBacklog:
    undecided = 0.0 if outlook.has_room(lane) else max(0.0, outlook.jobs(lane) - elsewhere)
    jobs = outlook.work(lane) + undecided * share(lane, outlook)
    seen = [(work, load) for report in outlook.loads for work, load in report.lanes.items()]
    own = combined(load for work, load in seen if work == WorkOf(outlook.target.name, lane))
    any_lane = combined(load for work, load in seen if work.target == outlook.target.name)
    tokens_per_job = (own or any_lane or _guessed(outlook.rules)).tokens_per_job
    slack_seconds = outlook.rules.lane_seconds[lane] if own is None else own.slack_seconds
    return LaneBacklog(lane, jobs, tokens_per_job, max(0.0, slack_seconds))


def share(lane: Lane, outlook: Outlook) -> float:
    """Return the share of the lane's jobs that goes to the target first, as the dispatchers recently saw it.

    While none has reported, the ladder of simple jobs, the bulk of all, decides: its first target gets all. Where that
    is wrong the first reports correct it, at the price of the fleet's cheapest start.
    """
    first = outlook.rules.routes.by_tier[Tier.SIMPLE, Plan.PAID][0]
    seen = [(work, load.jobs) for report in outlook.loads for work, load in report.lanes.items() if work.lane is lane]
    all_jobs = sum(jobs for _, jobs in seen)
    jobs = sum(jobs for work, jobs in seen if work.target == outlook.target.name)
    return (jobs + DEFAULT_JOBS * (first.name == outlook.target.name)) / (all_jobs + DEFAULT_JOBS)


def combined(loads: Iterable[LaneLoad]) -> LaneLoad | None:
    """Combine what several dispatchers saw, weighted by their decayed counts; None where nobody saw anything."""
    known = [load for load in loads if load.jobs > 0]
    if not known:
        return None
    jobs = sum(load.jobs for load in known)
    tokens = sum(load.jobs * load.tokens_per_job for load in known)
    slack = sum(load.jobs * load.slack_seconds for load in known)
    return LaneLoad(jobs, tokens / jobs, slack / jobs)


def _guessed(rules: Rules) -> LaneLoad:
    """Guess an unseen job: a prompt at the length where prompts begin to count as long, an answer as estimated."""
    prompt_tokens = rules.complexity.long_characters / rules.estimates.characters_per_token
    return LaneLoad(0.0, prompt_tokens + rules.estimates.output_tokens, 0.0)


def elsewhere_after(before: Elsewhere, outlook: Outlook, seconds: float) -> Elsewhere:
    """Update the jobs bound elsewhere after `seconds` more, slowly: new jobs need a moment to be handed over."""
    weight = -math.expm1(-seconds / outlook.rules.scaling.settle_seconds)
    found = {}
    for lane in Lane:
        jobs, known = outlook.jobs(lane), before.get(lane, 0.0)
        found[lane] = min(jobs, known + weight * max(0.0, jobs - known) if outlook.has_room(lane) else known)
    return found
