"""What to do about streams that fill up: keep space for what was accepted, and nobody's jobs may keep out all others'.

The stream of work refuses what it has no space for. Jobs are therefore brought to it only while it is half empty: the
rest is for what goes on from one target to the next, and for what several dispatchers bring at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fleet.model.action import GiveUp
from fleet.model.delivery import Fill
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Problem, Status

WORK_SHARE = 0.5
INTERACTIVE_WORK_SHARE = 0.7
"""How full the stream of work may be for a job to be brought: somebody waits for interactive ones, so they find space
where the other lanes have taken theirs."""

JOBS_SHARE = 0.75
"""Beyond that, jobs of the tenants that take most are refused: the rest is for the jobs of others."""

WATCHED_SHARE = 0.5
"""Beyond that JOBS may be full before the next reading: the depths are read more often."""

CROWD = 1 / 16
"""A tenant that takes less than this part of the room for waiting jobs, in a lane, keeps nobody out."""

REFUSAL = GiveUp(
    Status.REJECTED,
    Reason.OVER_QUOTA,
    Problem(
        "the room for waiting jobs is nearly full, most of it with those of the tenant",
        field="tenant",
        rule="may not leave the jobs of others without room",
    ),
)
"""The end of a job that takes the room of others."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A tenant's jobs in a lane. `job_bytes` is what one takes; 0 where none was seen."""

    jobs: int
    job_bytes: float


def takes_work(fill: Fill, brought_bytes: int, lane: Lane) -> bool:
    """Whether a job of the lane may be brought, with so many bytes brought since the reading."""
    share = INTERACTIVE_WORK_SHARE if lane is Lane.INTERACTIVE else WORK_SHARE
    return not fill.limit or fill.size + max(0, brought_bytes) < share * fill.limit


def crowding(fill: Fill, waiting: Mapping[str, Waiting], dispatchers: int = 1) -> Mapping[str, int]:
    """How many jobs to refuse of which tenants of a lane.

    Of each tenant that takes at least half as much as the one that takes most. Nobody is refused for being many, nor
    before one of its jobs was seen: many small ones would be taken for large. All that is too much goes at once, or
    more comes in than goes; each of the `dispatchers`, which see the same, refuses its part of it.
    """
    beyond = fill.beyond(JOBS_SHARE)
    sizes = {tenant: each.jobs * each.job_bytes for tenant, each in waiting.items() if each.job_bytes}
    if not beyond or not sizes:
        return {}
    most = max(CROWD * fill.limit, max(sizes.values()) / 2)
    part = beyond / fill.size / max(1, dispatchers)
    return {tenant: math.ceil(waiting[tenant].jobs * part) for tenant, size in sizes.items() if size >= most}
