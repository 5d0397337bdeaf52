"""Counts what several dispatchers pay twice: equal jobs coalesce within a dispatcher, not across them.

A simulation of the pace of `fleet.dispatch.state.answers` alone: jobs come at random (Poisson), each at one of the
dispatchers and with one of so many prompts, some far more often than others (Zipf), and a call takes `--seconds`.
`calls_needed` is how many different prompts came. Of the calls beyond those, `in_flight` were made while another
dispatcher asked the same, and `untold` while another had the answer and had not told it yet. Both are shares of the
calls needed; `of_jobs` is that of both together in all jobs.

    python -m benchmarks.coalescing [--rate 50] [--prompts 10000] [--seconds 2] [--minutes 30] [--dispatchers 4]
                                    [--json]
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.report import show
from fleet.dispatch.state.answers import TELL_SECONDS, TOLD_AT_ONCE

ZIPF = 1.1
SEED = 15


@dataclass
class Dispatchers:
    """When each of them knows the answer to a prompt, and when all do."""

    count: int
    seconds: float
    here: dict[tuple[int, int], float] = field(default_factory=dict)
    everywhere: dict[int, float] = field(default_factory=dict)
    tells_next: dict[int, float] = field(default_factory=dict)
    calls: int = 0
    in_flight: int = 0
    untold: int = 0

    def ask(self, prompt: int, at: int, now: float) -> None:
        """Ask the dispatcher `at`, which answers, waits for the same answer, or calls a model."""
        known_at = self.here.get((at, prompt), math.inf)
        if known_at < math.inf:
            self._told(prompt, max(now, known_at) + TELL_SECONDS)  # given again: told at once
        elif self.everywhere.get(prompt, math.inf) > now:
            self._call(prompt, at, now)

    def _call(self, prompt: int, at: int, now: float) -> None:
        others = [self.here[each, prompt] for each in range(self.count) if (each, prompt) in self.here]
        self.calls += 1
        self.in_flight += bool(others) and min(others) > now
        self.untold += bool(others) and min(others) <= now
        self.here[at, prompt] = now + self.seconds
        turn = max(self.tells_next.get(at, 0.0), now + self.seconds)
        self.tells_next[at] = turn + TELL_SECONDS / TOLD_AT_ONCE
        self._told(prompt, turn + TELL_SECONDS)

    def _told(self, prompt: int, at: float) -> None:
        self.everywhere[prompt] = min(at, self.everywhere.get(prompt, math.inf))


def figures(prompts: Sequence[int], rate: float, seconds: float, dispatchers: int) -> dict[str, float]:
    """Return what comes of these prompts, asked one after the other at this rate."""
    rng, now, fleet = random.Random(SEED), 0.0, Dispatchers(dispatchers, seconds)
    for prompt in prompts:
        now += rng.expovariate(rate)
        fleet.ask(prompt, rng.randrange(dispatchers), now)
    needed = len(set(prompts))
    return {
        "jobs": len(prompts),
        "calls_needed": needed,
        "calls": fleet.calls,
        "in_flight": fleet.in_flight / needed,
        "untold": fleet.untold / needed,
        "of_jobs": (fleet.in_flight + fleet.untold) / len(prompts),
    }


def drawn(jobs: int, distinct: int) -> list[int]:
    """Draw the prompts of a stream, always the same."""
    weights = [1 / rank**ZIPF for rank in range(1, distinct + 1)]
    return random.Random(SEED).choices(range(distinct), weights, k=jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--dispatchers", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    prompts = drawn(round(arguments.rate * arguments.minutes * 60), arguments.prompts)
    show(figures(prompts, arguments.rate, arguments.seconds, arguments.dispatchers), arguments.json)


if __name__ == "__main__":
    main()
