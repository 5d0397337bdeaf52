"""A promise sorts answers by the value of asking the stronger target, where labels show that this sorts better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from labelled import of_two_signals, often_hopeless, overconfident

from fleet.lab.learning import calibrate, fit
from fleet.lab.learning.calibrate import Goal
from fleet.lab.learning.labels import Label
from fleet.lab.learning.sample import probabilities, sample_of
from fleet.lab.learning.thresholds import losses_of
from fleet.lab.metrics.metrics import auroc
from fleet.model.calibration import Calibration, CalibrationKey, ThresholdMode
from fleet.model.target import LatencyClass, Target

RISK = 0.08
TARGET = Target("small", "fleet", "acme/small", 0.1, 0.1, 8_000, frozenset(), LatencyClass.FAST, 8)


@pytest.fixture(autouse=True)
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No promise asks the guard, whose bootstrap takes nearly all of the time."""
    monkeypatch.setattr(calibrate, "guard", lambda *given: None)


def calibrated(found: list[Label], mode: ThresholdMode = ThresholdMode.GUARANTEE) -> Calibration:
    goal = Goal(mode, RISK, 0.10, look=1)
    result = calibrate.calibrate(
        CalibrationKey("small"), TARGET, found, "large", goal, None, 5.0, "v1", np.random.default_rng(3)
    )
    assert isinstance(result, Calibration)
    return result


def test_answers_that_the_strong_target_gets_wrong_as_well_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = often_hopeless(4_000, np.random.default_rng(1))
    columns = sample_of(traffic, ()).columns
    lost = np.array([not label.good and bool(label.strong_good) for label in traffic])

    def escalated_and_lost(found: Calibration) -> tuple[float, float]:
        assert found.threshold is not None
        kept = probabilities(found.sorter, columns) >= found.threshold.value
        return 1.0 - float(kept.mean()), float((lost & kept).mean())

    draws = [often_hopeless(600, np.random.default_rng(seed)) for seed in (11, 12, 13)]
    by_value = [calibrated(draw) for draw in draws]
    monkeypatch.setattr(calibrate, "_value_scorer", lambda *given: None)
    by_goodness = [calibrated(draw) for draw in draws]

    fewer, more = (np.array([escalated_and_lost(each) for each in found]) for found in (by_value, by_goodness))
    assert fewer[:, 0].mean() < more[:, 0].mean() - 0.08
    assert (fewer[:, 1] <= RISK).all()
    scores = [probabilities(scorer, columns) for scorer in (by_value[0].sorter, by_value[0].scorer)]
    better, worse = (auroc(score, ~lost) for score in scores)
    assert better is not None and worse is not None and better > worse + 0.05


def test_beside_it_the_confidence_stays_the_chance_that_the_answer_is_good() -> None:
    found = calibrated(often_hopeless(1_200, np.random.default_rng(14)))
    fresh = often_hopeless(4_000, np.random.default_rng(15))
    stated = probabilities(found.scorer, sample_of(fresh, ()).columns)
    sure = stated > 0.8
    assert found.value_scorer is not None
    assert stated[sure].mean() == pytest.approx(np.mean([label.good for label in np.array(fresh)[sure]]), abs=0.05)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: overconfident(600, rng),
        lambda rng: of_two_signals(600, rng),
        lambda rng: often_hopeless(150, rng),
        lambda rng: [replace(each, strong_good=None) for each in often_hopeless(600, rng)],
        lambda rng: [replace(each, strong_good=True) for each in often_hopeless(600, rng)],
    ],
    ids=["one signal", "strong wrong anywhere", "few labels", "strong unknown", "strong never wrong"],
)
def test_where_labels_do_not_show_that_it_sorts_better_goodness_sorts(
    draw: Callable[[np.random.Generator], list[Label]],
) -> None:
    found = calibrated(draw(np.random.default_rng(16)))
    assert found.value_scorer is None
    assert found.sorter == found.scorer


def test_where_nothing_is_promised_goodness_sorts() -> None:
    assert calibrated(often_hopeless(600, np.random.default_rng(11)), ThresholdMode.BUDGET).value_scorer is None


def test_its_order_comes_from_one_half_of_the_labels_and_its_threshold_from_the_other() -> None:
    answers = often_hopeless(600, np.random.default_rng(11))
    half = fit.checked(answers[::2], fit.start_of(fit.BASE, None))
    lost = losses_of(half.good, [label.strong_good is True for label in answers[::2]])

    found = calibrated(answers)

    assert found.scorer == fit.fit(answers[::2])
    assert found.value_scorer == fit.fit_value(half, lost, found.scorer) is not None
