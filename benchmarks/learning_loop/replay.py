"""Loops drawn anew from what was recorded: how often is a promise broken, before and after the adapter?

A loop draws jobs to calibrate on and a week of others, with replacement, fits as `fleet calibrate` does, first the base
and then the adapter, whose test is the second of one promise, and keeps what the fleet would keep. A promise is broken
if more than the risk of all recorded jobs, from which every week comes, are kept with an answer that is wrong where the
strong one is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.learning_loop.weeks import RISK, SMALL, START, TASK, Row, labels, rules
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import fit_all, in_force_after
from fleet.model.calibration import Calibration, CalibrationKey
from policies.confidence.lookup import calibration_for
from policies.confidence.scorer import probability


@dataclass(frozen=True, slots=True)
class Population:
    """The recorded answers of the small target, with the adapter or without, and what keeping each would lose."""

    adapter: str
    labels: Sequence[LabelledAnswer]
    lost: np.ndarray


def population(rows: Sequence[Row], adapter: str | None) -> Population:
    answers = [row.small if adapter is None else row.taught for row in rows]
    lost = [
        a is not None and not row.is_right(a) and row.is_right(row.strong) for row, a in zip(rows, answers, strict=True)
    ]
    return Population(adapter or "", list(labels(rows, adapter)), np.array(lost))


def replay(rows: Sequence[Row], digest: str, loops: int, jobs: int, seed: int) -> Mapping[str, float]:
    """Return how often the promise was broken, of all jobs and of the week's, and what escalated."""
    rng = np.random.default_rng(seed)
    found: dict[str, float] = {}
    wholes = [population(rows, adapter) for adapter in (None, digest)]
    drawn = np.array([_loop(wholes, rng, jobs) for _ in range(loops)])
    for name, tried in zip(("base", "taught"), drawn.transpose(1, 0, 2), strict=True):
        found |= {
            f"{name}_broken": float((tried[:, 0] > RISK).mean()),
            f"{name}_broken_in_week": float((tried[:, 1] > RISK).mean()),
            f"{name}_risk": float(tried[:, 0].mean()),
            f"{name}_escalated": float(tried[:, 2].mean()),
        }
    return found


def _loop(wholes: Sequence[Population], rng: np.random.Generator, jobs: int) -> list[tuple[float, float, float]]:
    """Calibrate one after the other on half as many jobs as a week has.

    Return of each the risk of all jobs and of a week's, and what escalated.
    """
    found, in_force = [], dict[CalibrationKey, Calibration]()
    for whole in wholes:
        fitted = [whole.labels[row] for row in rng.integers(len(whole.labels), size=jobs // 2)]
        in_force = in_force_after(in_force, fit_all(fitted, in_force, rules(), START))
        kept = np.array([_keeps(each, in_force, whole.adapter) for each in whole.labels])
        week, lost = rng.integers(len(whole.labels), size=jobs), kept & whole.lost
        found.append((float(lost.mean()), float(lost[week].mean()), float(1.0 - kept.mean())))
    return found


def _keeps(label: LabelledAnswer, calibrations: Mapping, adapter: str) -> bool:  # type: ignore[type-arg]
    found = calibration_for(rules().catalogue.targets[SMALL], TASK, label.kind, calibrations, adapter)
    threshold = None if found is None else found.threshold
    return found is not None and threshold is not None and probability(found.scorer, label.evidence) >= threshold.value
