"""Compares two ways to sort answers for a promise: by P(good), and by the value of asking the stronger model.

For each file that `fleet evaluate --replay` reads, both are fitted to the recorded log-odds by five-fold crossing:
P(good) to whether the answer was right, the value to whether it was wrong where the stronger one was right, the latter
also with the square of the log-odds, which can keep answers that are hopeless. Printed are the AUROC of the benefit and
the share that escalates at the same promise (risk 5 %, delta 10 %, 500 labels drawn with replacement), averaged over
`--seeds` divisions into folds.

    python -m benchmarks.value recorded.csv ... [--seeds 10] [--json]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.report import show
from fleet.lab.evaluation.calibration import labels_of
from fleet.lab.evaluation.files import read_replay
from fleet.lab.learning.fit import BASE, FOLDS
from fleet.lab.learning.sample import Array, Rows, sample_of
from fleet.lab.learning.thresholds import grid_of, learn_then_test_many, losses_of
from fleet.lab.metrics.bounds import binomial
from fleet.lab.metrics.logistic import ridge_logistic
from fleet.lab.metrics.metrics import auroc

RISK, DELTA, LABELS, DRAWS = 0.05, 0.10, 500, 50
PRECISION, INTERCEPT_PRECISION = 3.0, 0.01


def crossed(columns: Array, wanted: Array, folds: Rows) -> Array:
    """Return log-odds of what is `wanted` by a ridge regression that has not seen the row's fold."""
    found = np.empty(len(wanted))
    precision = np.array([PRECISION] * columns.shape[1] + [INTERCEPT_PRECISION])
    for fold in range(FOLDS):
        seen = folds != fold
        scaled = (columns - columns[seen].mean(axis=0)) / columns[seen].std(axis=0)
        x = np.column_stack((scaled, np.ones(len(scaled))))
        b = ridge_logistic(
            x[seen], wanted[seen], np.ones(seen.sum()), np.zeros(x.shape[1]), precision, np.zeros(seen.sum())
        )
        found[~seen] = x[~seen] @ b
    return found


def compared(file: Path, seeds: int) -> dict[str, float]:
    replay, rng = read_replay(file), np.random.default_rng(0)
    odds = sample_of(labels_of(replay), (BASE,)).columns[BASE]
    lost = losses_of(replay.weak_correct, replay.strong_correct)
    straight, bent = odds[:, None], np.column_stack((odds, odds**2))
    good = (np.asarray(replay.weak_correct) >= 0.5).astype(np.float64)
    ways = {"good": (straight, good), "value": (straight, 1.0 - lost), "value_bent": (bent, 1.0 - lost)}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(seeds):
        folds = rng.permutation(len(odds)) % FOLDS
        draws = rng.integers(len(odds), size=(DRAWS, LABELS))
        for way, (columns, wanted) in ways.items():
            score = crossed(columns, wanted, folds)
            values = learn_then_test_many(score, lost, grid_of(score), RISK, DELTA, draws, binomial)
            found[way].append((auroc(score, 1.0 - lost) or 0.5, float((score < values[:, None]).mean())))
    figures: dict[str, float] = {}
    for way, each in found.items():
        ranked, escalated = np.mean(each, axis=0).tolist()
        figures |= {f"{file.stem}_{way}_auroc": ranked, f"{file.stem}_{way}_escalated": escalated}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    figures: dict[str, float] = {}
    for file in given.files:
        figures |= compared(file, given.seeds)
    show(figures, given.json)


if __name__ == "__main__":
    main()
