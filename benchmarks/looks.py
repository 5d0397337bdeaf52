"""Measures whether a promise holds over a whole history of calibrations, and what that costs.

Labels come one by one, and every 50 labels `fleet calibrate` is run. In every history all answers carry one confidence
and are wrong a little more often than promised, so that every test that passes breaks the promise: the worst case.
`alike` gives every test the whole delta, as if it were the only one, by the bound of a single test; `spent` is what the
fleet does, with the exact bound. Then, at a loss the promise allows, the number of labels at which the first test
passes; what escalates by labels of uneven weights; and with `--replay`, the share of answers that escalates of a file
that `fleet evaluate --replay` reads.

    python -m benchmarks.looks [--json] [--histories 4000] [--replay recorded.csv ...]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.report import show
from fleet.lab.evaluation.files import read_replay
from fleet.lab.learning.looks import delta_at, is_due
from fleet.lab.learning.sample import Array
from fleet.lab.learning.thresholds import grid_of, labels_missing, learn_then_test, learn_then_test_many, losses_of
from fleet.lab.metrics.bounds import PValue, binomial, hoeffding_bentkus, largest_passing
from fleet.model.calibration import Looks

RISK, DELTA = 0.05, 0.10
STEP = 50
"""Labels between two runs of `fleet calibrate`."""
WRONG = (0.0505, 0.052, 0.055)
ALLOWED = (0.0, 0.01, 0.02, 0.03)
MOST = 3_000
DRAWS = 400

Passes = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a history: its number of labels, its delta and its bound."""

    labels: int
    delta: float
    bound: PValue


def alike(most: int, step: int = STEP) -> list[Test]:
    """Return a test for every run of the command, each at the whole delta."""
    return [Test(n, DELTA, hoeffding_bentkus) for n in range(step, most + 1, step)]


def spent(most: int, step: int = STEP) -> list[Test]:
    """Return the tests that the fleet makes of the same runs."""
    return list(_spent(most, step))


def _spent(most: int, step: int) -> Iterator[Test]:
    looks = Looks()
    for n in range(step, most + 1, step):
        delta = delta_at(looks.count + 1, DELTA)
        if is_due(looks, n - looks.labels, n) and not labels_missing(np.ones(n), RISK, delta):
            looks = Looks(looks.count + 1, n)
            yield Test(n, delta, binomial)


def passes(tests: Sequence[Test], loss: float, histories: int, rng: np.random.Generator) -> Passes:
    """Return whether each test of each history passes, if this share of the answers is a loss."""
    drawn = rng.random((histories, tests[-1].labels)) < loss
    totals = np.cumsum(drawn, axis=1)[:, [test.labels - 1 for test in tests]]
    passed: Passes = totals <= np.array([_limit(test) for test in tests])
    return passed


@cache
def _limit(test: Test) -> float:
    return largest_passing(test.labels, RISK, test.delta, test.bound)


def interval(share: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    z = 1.96
    middle, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)


def held(histories: int) -> dict[str, float]:
    """Return the share of histories in which any test passes wrongly, with the ends of its interval."""
    figures: dict[str, float] = {}
    for most in (1_000, MOST):
        for way in (alike, spent):
            tests = way(most)
            figures[f"{way.__name__}_{most}_labels_tests"] = len(tests)
            for loss in WRONG:
                found = passes(tests, loss, histories, np.random.default_rng(1))
                ever = float(found.any(axis=1).mean())
                name = f"{way.__name__}_{most}_labels_loss_{loss}_ever_wrong"
                figures[name] = ever
                figures[f"{name}_low"], figures[f"{name}_high"] = interval(ever, histories)
    return figures


def price(histories: int) -> dict[str, float]:
    """Return the median number of labels at which a test first passes; infinity if half of the histories have none."""
    figures: dict[str, float] = {}
    for loss in ALLOWED:
        for way in (alike, spent):
            tests = way(MOST)
            found = passes(tests, loss, histories, np.random.default_rng(2))
            at = np.array([test.labels for test in tests])[found.argmax(axis=1)]
            first = np.where(found.any(axis=1), at, math.inf)
            figures[f"{way.__name__}_loss_{loss}_first_pass_labels"] = float(np.median(first))
    return figures


def escalated(file: Path) -> dict[str, float]:
    """Return the mean share of a file's answers that escalates, by the number of labels drawn and tested."""
    replay = read_replay(file)
    confidences = np.exp(replay.weak_logprob)
    losses = losses_of(replay.weak_correct, replay.strong_correct)
    rng, figures = np.random.default_rng(3), {}
    for n in (200, 500, 1_000, MOST):
        draws = rng.integers(0, len(losses), (DRAWS, n))
        for way in (alike, spent):
            last = way(n)[-1]
            rows = draws[:, : last.labels]
            grid = grid_of(confidences)
            values = learn_then_test_many(confidences, losses, grid, RISK, last.delta, rows, last.bound)
            share = (confidences[None, :] < values[:, None]).mean(axis=1)
            lost = (losses[None, :] * (confidences[None, :] >= values[:, None])).mean(axis=1)
            figures[f"{file.stem}_{n}_labels_{way.__name__}_escalated"] = float(share.mean())
            figures[f"{file.stem}_{n}_labels_{way.__name__}_broken"] = float((lost > RISK).mean())
    return figures


def uneven(draws: int = 100) -> dict[str, float]:
    """Return what escalates by labels of weights 2 and 1, tested by betting and by the Hoeffding-Bentkus bound.

    Confidences are evenly spread, losses the rarer the higher they are; kept answers are drawn half as often.
    """
    rng, figures = np.random.default_rng(4), dict[str, float]()
    for n in (300, 1_000, MOST):
        bets, bounds = [], []
        for _ in range(draws):
            stated = rng.random(4 * n)
            chance = np.where(stated < 0.6, 1.0, 0.5)
            stated = stated[rng.random(4 * n) < chance][:n]
            weights = np.where(stated < 0.6, 1.0, 2.0)
            lost = (rng.random(n) < 0.3 * (1.0 - stated)).astype(np.float64)
            bets.append(learn_then_test(stated, lost, grid_of(stated), RISK, DELTA / 2, weights=weights).value)
            bounds.append(_bounded(stated, lost, weights))
        figures[f"uneven_{n}_labels_betting_escalated"] = float(np.minimum(bets, 1.0).mean())
        figures[f"uneven_{n}_labels_hoeffding_bentkus_escalated"] = float(np.minimum(bounds, 1.0).mean())
    return figures


def _bounded(stated: Array, lost: Array, weights: Array) -> float:
    """Return the threshold by the bound that takes moved losses for the most varying ones there could be."""
    found, scale = math.inf, weights / weights.max()
    for step in grid_of(stated)[::-1]:
        tested = RISK + scale * (lost * (stated >= step) - RISK)
        if hoeffding_bentkus(float(tested.mean()), len(lost), RISK) > DELTA / 2:
            break
        found = float(step)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--histories", type=int, default=4_000)
    parser.add_argument("--replay", type=Path, nargs="*", default=[], metavar="FILE")
    given = parser.parse_args(arguments)
    figures = held(given.histories) | price(given.histories) | uneven()
    for file in given.replay:
        figures |= escalated(file)
    show(figures, given.json)


if __name__ == "__main__":
    main()
