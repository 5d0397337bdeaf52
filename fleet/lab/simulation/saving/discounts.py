"""Batches of providers: production's own rule chooses them, and how long each takes is drawn."""

from __future__ import annotations

import math
from collections import deque
from statistics import NormalDist

from fleet.lab.simulation.workload.ability import DRAWS, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.mechanisms import Discounts
from fleet.model.batched import Observed
from policies.discounts.choice import Offer, Verdict, Way, choose
from policies.discounts.completion import BATCHES, CALLS, Z90, CompletionLaw

BATCH_DRAW = 59
"""The number of the draw that says how long a job's batch takes: attempts have the lower ones."""

REMEMBERED = 200
"""The newest batches of a target that its completion law is learned from."""

LEARN_AFTER = 20
"""A law is learned anew after so many batches of its target."""

_CALLS = CompletionLaw((), CALLS)
_NORMAL = NormalDist()


class DiscountedCalls:
    """Chooses the way of each call, and remembers how long batches took."""

    def __init__(self, discounts: Discounts | None) -> None:
        self._discounts = discounts or Discounts()
        self._seen: dict[str, deque[Observed]] = {name: deque(maxlen=REMEMBERED) for name in self._discounts.batch}
        self._laws = dict.fromkeys(self._discounts.batch, CompletionLaw((), BATCHES))
        self._known: dict[tuple[str, int], Verdict] = {}
        self._news = 0

    def choose(self, job: SimulatedJob, target: str, now: float) -> Verdict | None:
        """Return the batch for the job's call; None where it is made at once. Slack counts in whole seconds."""
        law = self._laws.get(target)
        if law is None:
            return None
        key = target, int(job.deadline_at - now)
        if key not in self._known:
            self._known[key] = choose(Offer(key[1], _CALLS, batch=law))
        found = self._known[key]
        return None if found.way is Way.NOW else found

    def batch_seconds(self, job: SimulatedJob) -> float:
        """Draw how long the job's batch takes; infinity if it never ends."""
        law = self._discounts
        drawn = ((hashed(job.bits, BATCH_DRAW) >> 12) + 0.5) / DRAWS
        if drawn >= 1 - law.never:
            return math.inf
        sigma = math.log(law.p90_seconds / law.median_seconds) / Z90
        return law.median_seconds * math.exp(sigma * _NORMAL.inv_cdf(drawn / (1 - law.never)))

    def saw(self, target: str, seconds: float, ended: bool) -> None:
        """Learn from a batch that ended, or that was given up after so long."""
        self._seen[target].append(Observed(seconds, ended))
        self._news += 1
        if self._news % LEARN_AFTER == 0:
            self._laws = {name: CompletionLaw(seen, BATCHES) for name, seen in self._seen.items()}
            self._known.clear()
