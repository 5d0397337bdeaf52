"""Measures whether a promise holds through a life of refits, roll-backs and swaps of adapters.

A life is 20 refits, 3 roll-backs and 2 swaps of the adapter, made by the code of `fleet calibrate` on labels that keep
coming, and by a store of calibrations. After every step the true loss of what is in force is computed on the whole
population. A life is broken if any threshold that was ever in force kept more than the risk; `tested` counts also the
thresholds of refits that were refused for their scorer, as if they had been put in force.

In the world `simulated` the answers of three models (the base and two adapters) are labelled evenly, in `uneven` those
that are kept half as often, as shadow comparisons are, and in `recorded` they are drawn with replacement from three
files that `fleet evaluate --replay` reads. `alike` gives every test the whole delta, as if it were the only one.

    python -m benchmarks.promises [--lives 500] [--alike 100] [--workers 2] [--json]
        [--worlds simulated uneven recorded] [--replay A.csv B.csv C.csv]
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np

from benchmarks.looks import interval
from benchmarks.report import show
from fleet.lab.evaluation.calibration import labels_of
from fleet.lab.evaluation.files import read_replay
from fleet.lab.learning import calibrate
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fit import BASE
from fleet.lab.learning.fitting import FitOutcome, fit_all, goal_of
from fleet.lab.learning.labels import Label
from fleet.lab.learning.sample import Array, probabilities, sample_of
from fleet.model.attempt import Features
from fleet.model.calibration import Calibration, CalibrationKey, OutputKind, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.settings.documents import load_rules
from policies.confidence.signals import Evidence
from policies.rules.rules import Rules
from queues.jetstream.stores.calibrations import MemoryCalibrations

RISK, DELTA = 0.05, 0.10
WEAK, STRONG, TASK = "llama-8b", "llama-70b", "classify.intent"
ADAPTERS = ("", "a" * 64, "b" * 64)
STEPS = "rrrrr<rrr>rrr<rrr>rrr<rrr"
"""The steps of a life: r is a refit, < a roll-back of the calibration, > a swap of the adapter."""
WINDOW, FRESH = 450, 150
"""Labels that `fleet calibrate` still finds, and how many of them are new at every refit."""
POPULATION = 4_000
STEP_SECONDS = 86_400.0
SURE = 0.85
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """All answers of one model: their evidence, and the chances that they are good and that the stronger ones are.

    `propensity` is the probability with which an answer is drawn to be labelled.
    """

    evidence: Sequence[Evidence]
    good: Array
    strong_good: Array
    propensity: Array
    columns: Mapping[str, Array]

    def loss(self, calibration: Calibration) -> float:
        """Return the share of all answers that are kept, wrong, and right from the stronger model."""
        threshold = calibration.threshold
        if threshold is None or threshold.value == math.inf:
            return 0.0
        kept = probabilities(calibration.scorer, self.columns) >= threshold.value - ROUNDING
        return float((kept * (1.0 - self.good) * self.strong_good).mean())


def simulated(ease: float, uneven: bool) -> Population:
    """Return answers whose model overstates its log-odds by half, and has more right the easier they are to it."""
    rng = np.random.default_rng(round(10 * ease))
    odds = rng.normal(ease, 1.6, POPULATION)
    logprobs = -np.logaddexp(0.0, -1.5 * odds)
    propensity = np.where(uneven & (np.exp(logprobs) > SURE), 0.5, 1.0)
    evidence = [_evidence(each) for each in logprobs.tolist()]
    return _population(evidence, 1.0 / (1.0 + np.exp(-odds)), np.full(POPULATION, 0.93), propensity)


def _population(evidence: Sequence[Evidence], good: Array, strong_good: Array, propensity: Array) -> Population:
    columns = sample_of([Label(each, good=True) for each in evidence], (BASE,)).columns
    return Population(evidence, good, strong_good, propensity, columns)


def _evidence(logprob: float) -> Evidence:
    return Evidence(Features(logprob, logprob, logprob, logprob, logprob, 1, 0.0, 0.0))


def recorded(file: Path) -> Population:
    found = labels_of(read_replay(file))
    good = np.array([each.good for each in found], dtype=np.float64)
    strong = np.array([each.strong_good for each in found], dtype=np.float64)
    return _population([each.evidence for each in found], good, strong, np.ones(len(found)))


@cache
def models(world: str, files: tuple[Path, ...]) -> Sequence[Population]:
    """Return the populations of the base and of its two adapters."""
    if world == "recorded":
        return [recorded(file) for file in files]
    return [simulated(ease, world == "uneven") for ease in (1.2, 1.5, 1.8)]


@cache
def rules() -> Rules:
    """Return rules that promise RISK and DELTA to the answers of the one target, whatever its rung."""
    local = load_rules(None, None, "local")
    share = goal_of(local.catalogue.targets[WEAK], local).risk / local.confidence.risk
    wanted = replace(local.confidence, mode=ThresholdMode.GUARANTEE, risk=RISK / share, delta=DELTA / share)
    return replace(local, confidence=wanted)


@dataclass(frozen=True, slots=True)
class Life:
    """The outcome of a life, for the task's calibrations.

    `worst` is the largest true loss ever in force, `worst_tested` the largest of any test, `refits` is how many refits
    were put in force and `promising` how many of those kept anything; `tests` is how many shares of delta were spent.
    """

    worst: float
    worst_tested: float
    refits: int
    promising: int
    backs: int
    tests: int


class World:
    """One life in the making: a store of calibrations, the labels of today's model, and what was ever in force."""

    def __init__(self, seed: int, world: str, files: tuple[Path, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.models = models(world, files)
        self.store = MemoryCalibrations()
        self.place = self.backs = 0
        self.now = 1.8e9
        self.labels: list[LabelledAnswer] = []
        self.in_force: list[float] = []
        self.tested: list[FitOutcome] = []

    async def take(self, step: str) -> None:
        self.now += STEP_SECONDS
        match step:
            case "r":
                self.labels = [*self.labels, *self._fresh()][-WINDOW:]
                outcomes = fit_all(self.labels, await self.store.read_all(), rules(), self.now + 1.0)
                await self.store.put([each.to_store for each in outcomes if each.to_store is not None])
                self.tested += [each for each in outcomes if each.key.family == TASK and each.calibration is not None]
            case "<":
                await self._roll_back()
            case _:
                self.place, self.labels = self.place + 1, []
        self.in_force += [self._loss(each) for each in (await self.store.read_all()).values()]

    def outcome(self) -> Life:
        accepted = [each.calibration for each in self.tested if each.accepted and each.calibration]
        tried = [self._loss(each.calibration) for each in self.tested if each.calibration]
        promising = sum(each.threshold is not None and each.threshold.value < math.inf for each in accepted)
        tests = max((each.calibration.looks.count for each in self.tested if each.calibration), default=0)
        return Life(max(self.in_force), max(tried), len(accepted), promising, self.backs, tests)

    def _fresh(self) -> Iterator[LabelledAnswer]:
        model = self.models[self.place]
        rows = self.rng.choice(len(model.good), size=FRESH, p=model.propensity / model.propensity.sum())
        for number, row in enumerate(rows.tolist()):
            good, strong = (bool(self.rng.random() < chance[row]) for chance in (model.good, model.strong_good))
            yield LabelledAnswer(
                WEAK, TASK, OutputKind.TOKEN, f"job-{self.now:.0f}-{number}", model.evidence[row], good, strong, STRONG,
                propensity=float(model.propensity[row]), at=self.now, adapter=ADAPTERS[self.place],
            )  # fmt: skip

    async def _roll_back(self) -> None:
        try:
            await self.store.roll_back(CalibrationKey(WEAK, TASK, OutputKind.TOKEN, ADAPTERS[self.place]))
        except ConfigError:
            return  # nothing but one refit was ever put in force
        self.backs += 1

    def _loss(self, calibration: Calibration) -> float:
        return self.models[ADAPTERS.index(calibration.key.adapter)].loss(calibration)


async def live(seed: int, world: str, files: tuple[Path, ...]) -> Life:
    life = World(seed, world, files)
    for step in STEPS:
        await life.take(step)
    return life.outcome()


def one(seed: int, world: str, files: tuple[Path, ...], alike: bool) -> Life:
    # No promise asks the guard, whose bootstrap is nearly all of the time.
    with patch.object(calibrate, "guard", lambda *given: None):
        if not alike:
            return asyncio.run(live(seed, world, files))
        with patch.object(calibrate, "delta_at", lambda look, delta: delta):
            return asyncio.run(live(seed, world, files))


def figures_of(name: str, lives: Sequence[Life]) -> dict[str, float]:
    broken = fmean(life.worst > RISK for life in lives)
    low, high = interval(broken, len(lives))
    return {
        f"{name}_lives": len(lives),
        f"{name}_broken": broken,
        f"{name}_broken_low": low,
        f"{name}_broken_high": high,
        f"{name}_tested_broken": fmean(life.worst_tested > RISK for life in lives),
        f"{name}_tests": fmean(life.tests for life in lives),
        f"{name}_put_in_force": fmean(life.refits for life in lives),
        f"{name}_that_keep_answers": fmean(life.promising for life in lives),
        f"{name}_roll_backs": fmean(life.backs for life in lives),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--lives", type=int, default=500)
    parser.add_argument("--alike", type=int, default=100, help="lives in which every test has the whole delta")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worlds", nargs="+", default=["simulated"], choices=["simulated", "uneven", "recorded"])
    parser.add_argument("--replay", type=Path, nargs=3, default=[], metavar="FILE", help="for the world `recorded`")
    given = parser.parse_args(arguments)
    if "recorded" in given.worlds and not given.replay:
        parser.error("--replay: three files are needed for the world `recorded`")
    files, figures = tuple(given.replay), dict[str, float]()
    with ProcessPoolExecutor(given.workers) as workers:
        for world in given.worlds:
            for name, count, alike in ((world, given.lives, False), (f"{world}_alike", given.alike, True)):
                lived = workers.map(partial(one, world=world, files=files, alike=alike), range(count), chunksize=5)
                figures |= figures_of(name, list(lived)) if count else {}
    show(figures, given.json)


if __name__ == "__main__":
    main()
