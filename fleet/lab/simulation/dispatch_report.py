"""A dispatcher's report of its load, for the scaling policy: one stands for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fleet.lab.simulation.targets.server import OwnServer, SimulatedTarget
from fleet.model.delivery import Depths, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import LaneLoad, Load

FORGET = 0.9
"""Share of the weight of jobs handed over before that is left one decision later."""

_NAME = "simulated"


class LoadReport:
    """Decaying sums over the jobs put on their way, by target and lane."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Lane], list[float]] = {}
        self._missed: dict[str, float] = {}

    def handed_over(self, target: str, lane: Lane, tokens: int, slack_seconds: float) -> None:
        sums = self._sums.get((target, lane))
        if sums is None:
            sums = self._sums[target, lane] = [0.0, 0.0, 0.0]
        sums[0] += 1.0
        sums[1] += tokens
        sums[2] += slack_seconds

    def missed(self, target: str, tokens: int) -> None:
        """Count a job that went elsewhere, because the target is cold."""
        self._missed[target] = self._missed.get(target, 0.0) + tokens

    def at(self, now: float, servers: Mapping[str, OwnServer]) -> Load:
        """Return the report now; then let the sums decay."""
        lanes = {
            WorkOf(target, lane): LaneLoad(jobs, tokens / jobs, slack / jobs)
            for (target, lane), (jobs, tokens, slack) in self._sums.items()
        }
        for sums in self._sums.values():
            sums[:] = [FORGET * each for each in sums]
        done = {name: server.tokens_done for name, server in servers.items()}
        running = {name: server.pool.tokens_left() for name, server in servers.items()}
        return Load(_NAME, now, lanes, done, running, dict(self._missed))


def depths_of(servers: Mapping[str, SimulatedTarget]) -> Depths:
    """Count what is stored: WORK for every target, in hand or not, and beyond its bounds the tenants' jobs in JOBS."""
    jobs: Counter[JobsOf] = Counter()
    work = {}
    for name, server in servers.items():
        for lane, line in server.lines.items():
            work[WorkOf(name, lane)] = line.in_work + server.running_in[lane] + server.asleep_in(lane)
            if line.count > line.in_work:
                jobs.update({JobsOf(lane, tenant): count for tenant, count in line.in_jobs().items()})
    return Depths(jobs, work)
