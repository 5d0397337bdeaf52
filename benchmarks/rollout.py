"""Measures how often a roll-out without a fault is rolled back, and how soon one with a fault is.

A candidate has a tenth of the jobs, and every guardrail is looked at after every job. First nothing differs between the
arms: the share of runs that are rolled back all the same. Then the candidate's answers are good in 90 % instead of 95 %
of jobs: the median number of its jobs until it is stopped. `z_test` is the customary test of two shares (one-sided,
5 %) of the same jobs, looked at after every 50 of the candidate's. `tenants` repeats both with 200 tenants whose error
rates differ (beta distributed, standard deviation 2 points), drawn whole into one arm.

    python -m benchmarks.rollout [--json] [--runs 400] [--jobs 10000]
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import NormalDist, median

from benchmarks.report import show
from fleet.model.experiment import CONTROL, Arm, Experiment, Unit
from policies.experiments.assignment import drawn
from policies.experiments.evidence import Evidence, Observed

SHARE, GOOD, WORSE = 0.1, 0.95, 0.90
TENANTS = 200
LOOK_EVERY = 50
LIMIT = NormalDist().inv_cdf(0.95)

Draw = Callable[[random.Random], tuple[str, float]]
"""Draws a job: its arm, and the probability that its answer is bad in the control."""


class ZTest:
    """The customary test of two shares."""

    def __init__(self) -> None:
        self._jobs: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()

    @property
    def candidates(self) -> int:
        return self._jobs["candidate"]

    def observe(self, arm: str, is_bad: bool) -> bool:
        """Take in a job; return whether the test, if it is looked at now, finds the candidate worse."""
        self._jobs[arm] += 1
        self._bad[arm] += is_bad
        n, m = self._jobs["candidate"], self._jobs[CONTROL]
        if arm == CONTROL or n % LOOK_EVERY or not m:
            return False
        pooled = self._bad.total() / (n + m)
        spread = math.sqrt(pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m))
        return spread > 0.0 and (self._bad["candidate"] / n - self._bad[CONTROL] / m) / spread > LIMIT


def independent(rng: random.Random) -> tuple[str, float]:
    return ("candidate" if rng.random() < SHARE else CONTROL), 1.0 - GOOD


def of_tenants(seed: int) -> Draw:
    """Return a draw of jobs of tenants whose error rates differ, as the fleet draws their arms."""
    rng = random.Random(seed)
    experiment = _experiment(f"salt-{seed}")
    rates = [rng.betavariate(5.9, 112.0) for _ in range(TENANTS)]
    arms = [drawn(experiment, f"tenant-{number}").arm for number in range(TENANTS)]

    def draw(jobs: random.Random) -> tuple[str, float]:
        tenant = jobs.randrange(TENANTS)
        return arms[tenant], rates[tenant]

    return draw


def _experiment(salt: str = "") -> Experiment:
    return Experiment("trial", Unit.TENANT, (Arm("candidate", SHARE, target="other"),), salt)


def run(seed: int, draw: Draw, lost: float, most: int) -> tuple[int | None, int | None]:
    """Return how many jobs the candidate had when it was rolled back, and when the z-test would have done so.

    None where it never was. `lost` is what the candidate's answers are worse by.
    """
    rng, evidence, z_test = random.Random(seed), Evidence(_experiment()), ZTest()
    ours: int | None = None
    theirs: int | None = None
    for _ in range(most):
        arm, rate = draw(rng)
        is_bad = rng.random() < rate + (lost if arm != CONTROL else 0.0)
        if ours is None:
            evidence.observe(_job(rng, arm, is_bad))
            if rng.random() < 0.01:
                evidence.disliked(arm)
            ours = evidence.jobs["candidate"] if evidence.tripped() else None
        if z_test.observe(arm, is_bad) and theirs is None:
            theirs = z_test.candidates
        if ours is not None and (theirs is not None or lost):
            break
    return ours, theirs


def _job(rng: random.Random, arm: str, is_bad: bool) -> Observed:
    """Return a job in which nothing but the answer depends on the arm."""
    seconds, price_usd = rng.lognormvariate(0.0, 1.0), rng.lognormvariate(-8.0, 1.0)
    return Observed(arm, seconds, price_usd, rng.random() < 0.2, rng.random() < 0.02, 1.0 - is_bad)


def measured(name: str, draw_of: Callable[[int], Draw], runs: int, most: int) -> dict[str, float]:
    """Return the figures of one way to draw jobs."""
    same = [run(seed, draw_of(seed), 0.0, most) for seed in range(runs)]
    worse = [run(seed, draw_of(seed), GOOD - WORSE, most) for seed in range(runs)]
    caught = [math.inf if ours is None else ours for ours, _ in worse]
    return {
        f"{name}_false_rollbacks": sum(ours is not None for ours, _ in same) / runs,
        f"{name}_false_rollbacks_z_test": sum(theirs is not None for _, theirs in same) / runs,
        f"{name}_caught_after_jobs": float(median(caught)),
        f"{name}_caught_after_jobs_p90": float(sorted(caught)[int(0.9 * runs)]),
        f"{name}_never_caught": sum(math.isinf(each) for each in caught) / runs,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of a run, both arms together")
    given = parser.parse_args(arguments)
    figures = {"runs": float(given.runs), "jobs": float(given.jobs)}
    figures |= measured("jobs", lambda _: independent, given.runs, given.jobs)
    figures |= measured("tenants", of_tenants, given.runs, given.jobs)
    show(figures, given.json)


if __name__ == "__main__":
    main()
