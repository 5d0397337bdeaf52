"""The least that a promise must escalate, by any judge and by one score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fleet.lab.learning.calibrate import Goal, calibrate
from fleet.lab.learning.labels import Label
from fleet.lab.learning.limits import limits_of
from fleet.lab.learning.thresholds import labels_missing
from fleet.model.attempt import Features
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer, ThresholdMode
from fleet.model.target import Target
from fleet.settings.documents import load_rules
from policies.confidence.signals import Evidence

SMALL, LARGE = "llama-8b", "llama-70b"


@pytest.fixture(scope="module")
def small() -> Target:
    return load_rules(None, None, "local").catalogue.targets[SMALL]


def labels(count: int, seed: int, truth: float = 1.0, weight: float = 1.0) -> list[Label]:
    """Answers whose chance to be good follows their log-probability; `truth` 0 makes it say nothing."""
    random = np.random.default_rng(seed)
    stated = -random.exponential(0.5, count)
    good = random.random(count) < truth * np.exp(stated) + (1 - truth) * 0.6
    return [
        Label(Evidence(Features(s, s, s, s, s, 1, 1.0, 0.1)), bool(g), True, weight)
        for s, g in zip(stated.tolist(), good, strict=True)
    ]


def fitted(small: Target, known: list[Label], risk: float = 0.1) -> Calibration:
    goal = Goal(ThresholdMode.GUARANTEE, risk, 0.1)
    found = calibrate(CalibrationKey(SMALL), small, known, LARGE, goal, None, 0.0, "v", np.random.default_rng(1))
    assert isinstance(found, Calibration)
    return found


def test_a_judge_without_a_mistake_escalates_least_and_the_tested_threshold_most(small: Target) -> None:
    known = labels(800, 2)
    found = limits_of(fitted(small, known), known)
    assert found is not None
    lost = sum(not each.good for each in known) / len(known)
    assert found.any_judge == pytest.approx(lost - 0.1)
    assert found.any_judge < found.this_score < found.promised < 1.0


def test_a_score_that_says_nothing_must_escalate_far_more(small: Target) -> None:
    telling, blind = (labels(800, 3, truth) for truth in (1.0, 0.0))
    known, unknown = (limits_of(fitted(small, each), each) for each in (telling, blind))
    assert known is not None and unknown is not None
    assert unknown.this_score - unknown.any_judge > 1.5 * (known.this_score - known.any_judge)


def test_answers_count_by_how_many_they_stand_for(small: Target) -> None:
    good, bad = labels(200, 4), [replace(each, good=False) for each in labels(100, 5, weight=2.0)]
    found = limits_of(fitted(small, labels(800, 2)), [*good, *bad])
    lost = (sum(not each.good for each in good) + 2 * len(bad)) / (len(good) + 2 * len(bad))
    assert found is not None and found.any_judge == pytest.approx(lost - 0.1)


def test_a_promise_that_all_labels_keep_needs_no_escalation(small: Target) -> None:
    known = [replace(each, strong_good=False) for each in labels(800, 6)]
    found = limits_of(fitted(small, known), known)
    assert found is not None and (found.any_judge, found.this_score) == (0.0, 0.0)


def test_without_a_promise_there_are_no_limits(small: Target) -> None:
    known = labels(400, 7)
    goal = Goal(ThresholdMode.BUDGET, escalation_rate=0.3)
    found = calibrate(CalibrationKey(SMALL), small, known, LARGE, goal, None, 0.0, "v", np.random.default_rng(1))
    assert isinstance(found, Calibration) and limits_of(found, known) is None
    assert limits_of(fitted(small, known), []) is None


@pytest.mark.parametrize(("count", "least"), [(45, 0.0499), (230, 0.00996), (2_000, 0.00115)])
def test_no_threshold_can_promise_less_than_so_many_labels_without_a_loss_prove(
    small: Target, count: int, least: float
) -> None:
    found = limits_of(fitted(small, labels(800, 2)), labels(count, 8))
    assert found is not None and found.least_risk == pytest.approx(least, rel=0.01)
    assert labels_missing(np.ones(count), found.least_risk * 1.001, 0.1) == 0
    assert labels_missing(np.ones(count), found.least_risk * 0.99, 0.1) > 0


def test_the_limits_are_those_of_the_score_that_sorts(small: Target) -> None:
    known = labels(800, 2)
    found = fitted(small, known)
    upside_down = replace(found, value_scorer=Scorer(Fit.PLATT, ("min_logit",), (-1.0,), 0.0))
    plain, worse = (limits_of(each, known) for each in (found, upside_down))
    assert plain is not None and worse is not None
    assert worse.this_score > plain.this_score and worse.any_judge == plain.any_judge
