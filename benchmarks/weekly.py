"""Measures the weekly report on simulated weeks whose truth is known: are its intervals right, and its proposals?

A week has six tasks at one target, each with a population of its own: how good its answers are, how well confidence
sorts them, the threshold in force, and prices. The truth of a change is computed on the whole population; the week sees
some of it, and knows the goodness of all doubted answers and of a drawn share of those kept, over eight weeks.

`coverage_*` are shares of intervals that hold the truth, `harmful` is the share of proposals that break the promise or
save nothing in truth, and `found` the share of changes worth 1 % of the spend or more that are proposed, of those that
keep the promise with the `--margin` of the risk to spare.

    python -m benchmarks.weekly [--weeks 500] [--jobs 4000] [--margin 0.4] [--json]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.report import show
from fleet.lab.metrics.curve import Array
from fleet.lab.weekly.answers import Flags, Judged, WeekOfAnswers
from fleet.lab.weekly.changes import Change, Kind, Verdict, changes
from fleet.lab.weekly.fell import servable

TASKS = 6
POPULATION = 100_000
RISK = 0.05
SHADOW = 0.02
SHADOW_WEEKS = 8
OWN_USD, NEXT_USD = 0.00004, 0.0004
SEED = 17


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A population of answers to one task, and the threshold in force."""

    name: str
    threshold: float
    confidence: Array
    good: Flags
    strong_good: Flags
    tokens: Array

    @property
    def kept(self) -> Flags:
        found: Flags = self.confidence >= self.threshold
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--margin", type=float, default=0.4)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    show(measure(arguments.weeks, arguments.jobs, arguments.margin), arguments.json)


def measure(weeks: int, jobs: int, margin: float, seed: int = SEED) -> dict[str, float]:
    """Return coverage, harm and finds over so many simulated weeks of so many jobs of each task."""
    rng = np.random.default_rng(seed)
    shares: list[bool] = []
    savings: list[bool] = []
    harmful: list[bool] = []
    found: list[bool] = []
    for _ in range(weeks):
        tasks = {task.name: task for task in _tasks(rng)}
        seen = [_week(task, jobs, rng) for task in tasks.values()]
        shares += [_covers_share(tasks[week.task], week) for week in seen if servable(week).share is not None]
        told = changes(seen)
        savings += [
            _covers_saving(tasks[each.task], each) for each in told if each.threshold or each.kind is Kind.TABLE
        ]
        proposed = [each for each in told if each.verdict is Verdict.PROPOSED]
        harmful += [_is_harmful(tasks[each.task], each) for each in proposed]
        spend = sum(week.usd for week in seen)
        worth = [task for task in tasks.values() if _worth(task, margin) * jobs >= 0.01 * spend]
        found += [any(each.task == task.name and each.kind is Kind.THRESHOLD for each in proposed) for task in worth]
    return {
        "weeks": float(weeks),
        "intervals": float(len(shares) + len(savings)),
        "coverage_servable": float(np.mean(shares)),
        "coverage_saved": float(np.mean(savings)),
        "proposals": float(len(harmful)),
        "harmful": float(np.mean(harmful)),
        "worthwhile": float(len(found)),
        "found": float(np.mean(found)),
    }


def _tasks(rng: np.random.Generator) -> Iterator[Task]:
    for number in range(TASKS):
        ease, sharp = rng.uniform(0.3, 2.5), rng.uniform(0.6, 2.0)
        odds = rng.normal(ease, 1.2, POPULATION)
        good = rng.random(POPULATION) < 1.0 / (1.0 + np.exp(-sharp * odds))
        confidence = 1.0 / (1.0 + np.exp(-odds))
        strong = rng.random(POPULATION) < np.where(good, 0.97, rng.uniform(0.6, 0.95))
        threshold = float(np.quantile(confidence, rng.uniform(0.05, 0.95)))
        yield Task(
            f"task-{number}", threshold, confidence, good, strong, rng.lognormal(0.0, 0.4, POPULATION).clip(0, 5)
        )


def _week(task: Task, jobs: int, rng: np.random.Generator) -> WeekOfAnswers:
    rows = rng.integers(POPULATION, size=jobs)
    kept, tokens = task.kept[rows], task.tokens[rows]
    doubted = ~kept
    shadow = rng.integers(POPULATION, size=SHADOW_WEEKS * jobs)
    shadow = shadow[task.kept[shadow] & (rng.random(len(shadow)) < SHADOW)]
    return WeekOfAnswers(
        "llama-8b",
        task.name,
        RISK,
        task.confidence[rows],
        kept,
        ["" if each else "low_confidence" for each in kept],
        doubted,
        OWN_USD * tokens,
        np.where(doubted, NEXT_USD * tokens, 0.0),
        NEXT_USD * tokens,
        _judged(task, rows[doubted], 1.0),
        _judged(task, shadow, SHADOW),
    )


def _judged(task: Task, rows: npt.NDArray[np.int64], propensity: float) -> Judged:
    chance = np.full(len(rows), propensity)
    return Judged(task.confidence[rows], task.good[rows], task.strong_good[rows], chance)


def _covers_share(task: Task, week: WeekOfAnswers) -> bool:
    share = servable(week).share
    assert share is not None
    lost = ~task.good & task.strong_good
    return share.low <= 1.0 - float(lost[~task.kept].mean()) <= share.high


def _covers_saving(task: Task, change: Change) -> bool:
    truth = _saved(task, change) * change.n
    return change.saved_usd.low <= truth <= change.saved_usd.high


def _saved(task: Task, change: Change) -> float:
    """Return what the change saves a job in truth."""
    if change.kind is Kind.TABLE:
        return float(np.mean(task.tokens * (OWN_USD - np.where(task.kept, NEXT_USD, 0.0))))
    assert change.threshold is not None
    new = ~task.kept & (task.confidence >= change.threshold)
    return float(np.mean(NEXT_USD * task.tokens * new))


def _is_harmful(task: Task, change: Change) -> bool:
    if change.kind is Kind.TABLE:
        lost = task.kept & task.good & ~task.strong_good
    else:
        lost = (task.confidence >= (change.threshold or 0.0)) & ~task.good & task.strong_good
    return _saved(task, change) <= 0.0 or float(lost.mean()) > RISK


def _worth(task: Task, margin: float) -> float:
    """Return what the best threshold saves a job that keeps the promise with a margin; 0 if the one in force does."""
    order = np.argsort(-task.confidence)
    lost = np.cumsum((~task.good & task.strong_good)[order]) / POPULATION
    allowed = int(np.searchsorted(lost, RISK * (1.0 - margin), side="right"))
    new = order[:allowed][~task.kept[order[:allowed]]]
    return float(NEXT_USD * task.tokens[new].sum() / POPULATION)


if __name__ == "__main__":
    main()
