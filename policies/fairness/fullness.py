"""Protection of streams that fill up: space for accepted jobs is kept, and no tenant's jobs keep out all others'.

The stream of work refuses what it has no space for. Jobs are therefore brought to it only while it is half empty: the
rest is for jobs that move from one target to the next, and for what several dispatchers bring at the same time.
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
"""Fill of the stream of work up to which an interactive job is brought: a publisher waits for it, so it finds space
where the other lanes have taken theirs.
"""

JOBS_SHARE = 0.75
"""Fill of JOBS beyond which jobs of the largest tenants are refused: the rest is for the jobs of others."""

WATCHED_SHARE = 0.5
"""Expected fill of JOBS before the next reading beyond which the depths are read more often."""

CROWD = 1 / 16
"""Share of the room for waiting jobs, in a lane, below which a tenant keeps nobody out."""

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
    """A tenant's jobs in a lane. `job_bytes` is the size of one; 0 where none was seen."""

    jobs: int
    job_bytes: float


def takes_work(fill: Fill, brought_bytes: int, lane: Lane) -> bool:
    """Return whether a job of the lane may be brought, with so many bytes brought since the reading."""
    share = INTERACTIVE_WORK_SHARE if lane is Lane.INTERACTIVE else WORK_SHARE
    return not fill.limit or fill.size + max(0, brought_bytes) < share * fill.limit


def crowding(fill: Fill, waiting: Mapping[str, Waiting], dispatchers: int = 1) -> Mapping[str, int]:
    """Return how many jobs to refuse of which tenants of a lane.

    Only tenants that take at least half as much as the largest one lose jobs. No tenant is refused for the number of
    its jobs, nor before one of them was seen: many small ones would be taken for large. The whole excess goes at once,
    or more comes in than goes; each of the `dispatchers`, which see the same, refuses its part of it.
    """
    beyond = fill.beyond(JOBS_SHARE)
    sizes = {tenant: each.jobs * each.job_bytes for tenant, each in waiting.items() if each.job_bytes}
    if not beyond or not sizes:
        return {}
    most = max(CROWD * fill.limit, max(sizes.values()) / 2)
    part = beyond / fill.size / max(1, dispatchers)
    return {tenant: math.ceil(waiting[tenant].jobs * part) for tenant, size in sizes.items() if size >= most}
