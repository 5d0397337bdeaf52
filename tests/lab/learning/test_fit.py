"""What scorer a number of labels earns, and how good it is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import evidence, of_two_signals, overconfident

from fleet.lab.learning.fit import fit, rank_of, start_of
from fleet.lab.learning.labels import Label, weight_of
from fleet.lab.metrics import metrics
from fleet.model.calibration import Fit, Scorer
from fleet.model.errors import ConfigError
from policies.confidence.scorer import check, probability


def scored(scorer: Scorer, labels: list[Label]) -> tuple[list[float], list[bool]]:
    return [probability(scorer, label.evidence) for label in labels], [label.good for label in labels]


@pytest.mark.parametrize(
    ("n", "method"),
    [
        (2, Fit.TEMPERATURE),
        (49, Fit.TEMPERATURE),
        (50, Fit.PLATT),
        (199, Fit.PLATT),
        (400, Fit.PLATT),
        (999, Fit.PLATT),
    ],
)
def test_one_token_answers_get_temperature_then_platt(n: int, method: Fit) -> None:
    labels = overconfident(n, np.random.default_rng(2))
    labels[0], labels[1] = replace(labels[0], good=True), replace(labels[1], good=False)
    found = fit(labels)
    assert (found.fit, found.signals) == (method, ("min_logit",))


@pytest.mark.parametrize(("n", "method"), [(150, Fit.PLATT), (400, Fit.LOGISTIC)])
def test_a_second_signal_that_helps_is_used_from_two_hundred_labels_on(n: int, method: Fit) -> None:
    assert fit(of_two_signals(n, np.random.default_rng(3))).fit is method


def test_signals_that_are_noise_leave_platt_in_place() -> None:
    rng = np.random.default_rng(14)
    for _ in range(5):
        noisy = [
            replace(label, evidence=evidence(label.evidence.features.min, margin=rng.normal(), entropy=rng.random()))
            for label in overconfident(300, rng)
        ]
        assert fit(noisy).fit is Fit.PLATT


def test_several_signals_beat_one_on_answers_neither_has_seen() -> None:
    rng = np.random.default_rng(4)
    labels, unseen = of_two_signals(600, rng), of_two_signals(2_000, rng)
    one = metrics.brier(*scored(fit(labels[:199]), unseen))
    both = metrics.brier(*scored(fit(labels), unseen))
    assert both < one - 0.02


def test_knots_are_added_from_a_thousand_labels_on_where_the_curve_is_bent() -> None:
    rng = np.random.default_rng(5)
    stated = rng.uniform(0.05, 0.99, 3_000)
    good = rng.random(3_000) < np.where(stated > 0.8, 0.9, 0.3)
    labels = [Label(evidence(math.log(p)), bool(g)) for p, g in zip(stated, good, strict=True)]
    bent, straight = fit(labels), fit(labels[:999])
    assert (bent.fit, straight.fit) == (Fit.ISOTONIC, Fit.PLATT)
    check(bent)
    assert rank_of(bent) == rank_of(straight)
    assert probability(bent, evidence(math.log(0.6))) == pytest.approx(0.3, abs=0.08)
    assert probability(bent, evidence(math.log(0.95))) == pytest.approx(0.9, abs=0.08)


def test_platt_finds_the_true_line() -> None:
    found = fit(overconfident(4_000, np.random.default_rng(6))[:990])
    assert found.weights[0] == pytest.approx(0.5, abs=0.1)
    assert found.intercept == pytest.approx(-0.5, abs=0.2)


def test_two_hundred_labels_make_an_overconfident_model_honest() -> None:
    rng = np.random.default_rng(7)
    labels, unseen = overconfident(200, rng), overconfident(3_000, rng)
    raw = metrics.ece(*scored(start_of("min_logit", None), unseen))
    assert metrics.ece(*scored(fit(labels), unseen)) < 0.06 < raw


def test_few_labels_stay_close_to_the_parent() -> None:
    rng = np.random.default_rng(8)
    parent = Scorer(Fit.PLATT, ("min_logit",), (0.5,), -0.5)
    unseen = overconfident(3_000, rng)
    few = overconfident(12, np.random.default_rng(9))
    true = metrics.brier(*scored(parent, unseen))
    assert metrics.brier(*scored(fit(few, parent=parent), unseen)) < true + 0.01
    assert metrics.brier(*scored(fit(few), unseen)) > true + 0.01


def test_confidence_that_sorts_backwards_becomes_nearly_worthless_but_keeps_its_order() -> None:
    labels = [replace(label, good=not label.good) for label in overconfident(150, np.random.default_rng(10), slope=2.0)]
    found = fit(labels)
    assert 0.0 < found.weights[0] <= 0.01
    share = sum(label.good for label in labels) / len(labels)
    assert probability(found, evidence(-0.2)) == pytest.approx(share, abs=0.05)


def test_a_label_of_weight_two_counts_as_two() -> None:
    labels = overconfident(120, np.random.default_rng(11))
    twice = [replace(label, weight=2.0) if label.good else label for label in labels]
    assert fit(twice).intercept > fit(labels).intercept + 0.3


def test_weighting_all_labels_alike_changes_nothing() -> None:
    labels = overconfident(120, np.random.default_rng(12))
    heavy = fit([replace(label, weight=7.0) for label in labels])
    plain = fit(labels)
    assert (heavy.weights[0], heavy.intercept) == pytest.approx((plain.weights[0], plain.intercept))


GOOD, BAD = Label(evidence(-0.1), True), Label(evidence(-2.0), False)


@pytest.mark.parametrize(
    ("labels", "field", "rule"),
    [
        ([], "labels", "at least one"),
        ([GOOD, GOOD], "labels", "both"),
        ([BAD], "labels", "both"),
        ([GOOD, Label(evidence(-1.0, q10=math.nan), False)], "labels[1].evidence", "q10"),
        ([Label(evidence(-1.0, margin=math.inf), False), GOOD], "labels[0].evidence", "margin"),
        ([GOOD, replace(BAD, weight=math.nan)], "labels[1].weight", "finite"),
        ([replace(GOOD, weight=0.0), BAD], "labels[0].weight", "above 0"),
    ],
)
def test_labels_that_teach_nothing_are_refused_by_field_and_rule(labels: list[Label], field: str, rule: str) -> None:
    with pytest.raises(ConfigError) as refused:
        fit(labels)
    assert refused.value.field == field
    assert rule in refused.value.rule


def test_an_unknown_base_a_missing_base_and_a_broken_parent_are_refused() -> None:
    with pytest.raises(ConfigError, match="base"):
        fit([GOOD, BAD], base="mood")
    with pytest.raises(ConfigError, match=r"labels\[0\].evidence: p_true"):
        fit([GOOD, BAD], base="p_true_logit")
    with pytest.raises(ConfigError, match=r"scorer\.weights"):
        fit([GOOD, BAD], parent=Scorer(Fit.PLATT, ("min_logit",), (math.nan,), 0.0))


def test_a_second_look_is_used_where_every_answer_had_one() -> None:
    rng = np.random.default_rng(13)
    labels = [
        replace(
            label, evidence=replace(label.evidence, p_true=0.9 if rng.random() < (0.9 if label.good else 0.2) else 0.1)
        )
        for label in overconfident(400, rng)
    ]
    assert "p_true_logit" in fit(labels).signals
    assert "p_true_logit" not in fit([*labels, GOOD]).signals


@pytest.mark.parametrize(
    ("propensity", "most", "weight"), [(1.0, 1.0, 1.0), (0.5, 1.0, 2.0), (0.01, 1.0, 20.0), (0.01, 0.02, 2.0)]
)
def test_weights_are_inverse_propensities_up_to_a_limit(propensity: float, most: float, weight: float) -> None:
    assert weight_of(propensity, most) == pytest.approx(weight)


@pytest.mark.parametrize(("propensity", "most"), [(0.0, 1.0), (-0.1, 1.0), (1.1, 1.2), (0.5, 0.4), (math.nan, 1.0)])
def test_an_impossible_propensity_is_refused(propensity: float, most: float) -> None:
    with pytest.raises(ConfigError, match="propensity"):
        weight_of(propensity, most)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(5, 260), st.floats(-1.0, 3.0))
def test_every_fit_can_be_applied_and_one_of_a_single_signal_keeps_the_order(seed: int, n: int, slope: float) -> None:
    labels = [GOOD, BAD, *overconfident(n, np.random.default_rng(seed), slope)]
    found = fit(labels)
    check(found)
    assert rank_of(found) == rank_of(start_of("min_logit", None))
    confidences = [probability(found, evidence(logprob)) for logprob in (-9.0, -3.0, -1.0, -0.1, -0.01)]
    assert confidences == sorted(confidences)
