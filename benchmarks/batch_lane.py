"""Simulates a provider's batches under deadlines: the fleet's choice against a fixed buffer and against hindsight.

Every scheduler meets the same draws: batches that come every two minutes, each with a slack (log-uniform, 15 minutes to
24 hours; in `short` 2 to 30 minutes), the time its provider takes for it, and the time a call made at once would take.
The `usual` provider's batches have a median of 7 minutes, nine in ten end within an hour, one in fifty never. A batch
given up has finished part of its rows, which are paid and called again: they finish evenly over the second half of its
time.

    choice     `policies.discounts.choice`, as dispatchers use it: learns the law from what it has sent, running batches
               included; a batch is given up while there is time for a call and another try
    fixed      offpeak's rule: always a batch; 15 % of the slack, 1 to 10 minutes, are kept for calls at list price
    hindsight  knows each batch's time: sends those that will be done, calls the others at once

Prices are over that of a call at once. A miss is a job without its answer at its deadline; the promise is 1 %.

    python -m benchmarks.batch_lane [--draws 20] [--batches 1000] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.report import show
from fleet.model.batched import Observed
from policies.discounts.choice import Offer, Way, choose
from policies.discounts.completion import BATCHES, CALLS, Z90, CompletionLaw, Prior

EVERY_SECONDS = 120.0
PROMISE = 0.01
FALLBACK_SECONDS = 120.0
"""The time of two calls with a time-out of a minute."""

CALL = CompletionLaw((), CALLS)
REMEMBERED = 100
"""The newest batches that the choice learns from."""

USUAL = Prior(420, 3_600, 0.02, 1)
LONG = (900.0, 86_400.0)
SCENES: Mapping[str, tuple[Prior, tuple[float, float]]] = {
    "usual": (USUAL, LONG),
    "short": (USUAL, (120.0, 1_800.0)),
    "slow": (Prior(10_800, 43_200, 0.05, 1), LONG),
    "stuck": (Prior(420, 3_600, 0.60, 1), LONG),
}
"""The cases tried: the true law of a provider's batches, whose weight means nothing here, and the range of slacks."""

TRUE_CALLS = Prior(6, 25, 0.002, 1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A batch that may be sent: when, how long it may take, how long it and a call at once would take."""

    at: float
    slack_seconds: float
    batch_seconds: float
    call_seconds: float

    def finished_share(self, seconds: float) -> float:
        """Return the share of the rows that are finished after `seconds`."""
        return 0.0 if math.isinf(self.batch_seconds) else max(0.0, 2 * seconds / self.batch_seconds - 1)


@dataclass(frozen=True, slots=True)
class Outcome:
    price: float
    missed: bool


def drawn(law: Prior, slacks: tuple[float, float], batches: int, source: random.Random) -> Iterator[Drawn]:
    low, high = map(math.log, slacks)
    at = 0.0
    for _ in range(batches):
        at += source.expovariate(1 / EVERY_SECONDS)
        slack = math.exp(source.uniform(low, high))
        yield Drawn(at, slack, _time_of(law, source), _time_of(TRUE_CALLS, source))


def _time_of(law: Prior, source: random.Random) -> float:
    sigma = math.log(law.p90_seconds / law.median_seconds) / Z90
    seconds = law.median_seconds * math.exp(sigma * source.gauss(0, 1))
    return math.inf if source.random() < law.never else seconds


def sent(each: Drawn, fallback_seconds: float) -> Outcome:
    """Return what comes of a batch that is given up when `fallback_seconds` are left."""
    waited = each.slack_seconds - fallback_seconds
    if each.batch_seconds <= waited:
        return Outcome(0.5, missed=False)
    return Outcome(1 + 0.5 * each.finished_share(waited), each.call_seconds > fallback_seconds)


def called(each: Drawn) -> Outcome:
    return Outcome(1.0, each.call_seconds > each.slack_seconds)


def in_hindsight(each: Drawn) -> Outcome:
    return Outcome(0.5, missed=False) if each.batch_seconds <= each.slack_seconds else called(each)


def with_fixed_buffer(each: Drawn) -> Outcome:
    return sent(each, min(max(0.15 * each.slack_seconds, 60.0), 600.0))


class Learning:
    """The fleet's choice, with what it has seen by the time of each decision."""

    def __init__(self) -> None:
        self._ended: deque[Observed] = deque(maxlen=REMEMBERED)
        self._running: list[tuple[float, float, Observed]] = []

    def __call__(self, each: Drawn) -> Outcome:
        while self._running and self._running[0][0] <= each.at:
            self._ended.append(heapq.heappop(self._running)[2])
        still = (Observed(each.at - began, ended=False) for _, began, _ in self._running)
        law = CompletionLaw([*self._ended, *still], BATCHES)
        offer = Offer(each.slack_seconds, CALL, batch=law, promise=PROMISE, fallback_seconds=FALLBACK_SECONDS)
        if choose(offer).way is not Way.BATCH:
            return called(each)
        waited = each.slack_seconds - FALLBACK_SECONDS
        seconds = min(each.batch_seconds, waited)
        heapq.heappush(self._running, (each.at + seconds, each.at, Observed(seconds, each.batch_seconds <= waited)))
        return sent(each, FALLBACK_SECONDS)


def measure(draws: int, batches: int, seed: int) -> dict[str, float]:
    """Return for each provider the mean prices over hindsight's, the prices themselves, and the shares of misses."""
    figures: dict[str, float] = {}
    for name, (law, slacks) in SCENES.items():
        runs = [list(drawn(law, slacks, batches, random.Random(f"{seed}.{name}.{draw}"))) for draw in range(draws)]
        found = {
            "choice": _over(runs, Learning),
            "fixed": _over(runs, lambda: with_fixed_buffer),
            "hindsight": _over(runs, lambda: in_hindsight),
        }
        ideal = mean(each.price for each in found["hindsight"])
        for scheduler, outcomes in found.items():
            price = mean(each.price for each in outcomes)
            figures[f"{name}.{scheduler}.price"] = price
            figures[f"{name}.{scheduler}.over_hindsight"] = price / ideal
            figures[f"{name}.{scheduler}.missed"] = mean(each.missed for each in outcomes)
    return figures


def _over(runs: Sequence[Sequence[Drawn]], scheduler: Callable[[], Callable[[Drawn], Outcome]]) -> list[Outcome]:
    return [decide(each) for run in runs for decide in [scheduler()] for each in run]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--batches", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    show(measure(asked.draws, asked.batches, asked.seed), asked.json)


if __name__ == "__main__":
    main()
