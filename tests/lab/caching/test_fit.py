"""Score, metric and threshold are fitted on what is known, and refuse what nothing can be learned from."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fleet.embedding.encoder import unit
from fleet.lab.caching.entries import Entries, ask
from fleet.lab.caching.fit import fit_metric, fit_score, fit_threshold, scores
from fleet.model.caching import AnswerScore
from fleet.model.errors import ConfigError
from policies.caching.signals import score

RNG = np.random.default_rng(5)


def entries(encoder, subjects: int = 6, each: int = 10) -> Entries:
    texts = [f"subject {n}, question {k}" for n in range(subjects) for k in range(each)]
    answers = [f"a{n}" for n in range(subjects) for _ in range(each)]
    return Entries(texts, answers, encoder.encode(texts))


def test_a_score_needs_no_label_and_sorts_right_answers_from_wrong_ones(encoder) -> None:
    cached = entries(encoder)
    by = fit_score(cached)
    texts = [f"subject {n}, question {k}" for n in range(6) for k in range(50, 70)] + [
        f"nothing, {k}" for k in range(40)
    ]
    answers = [f"a{n}" for n in range(6) for _ in range(20)] + ["none"] * 40
    found = ask(cached, texts, encoder.encode(texts))
    right = np.array([one == other for one, other in zip(found.answers, answers, strict=True)])
    values = scores(found.signals, by)
    assert np.median(values[right]) > np.quantile(values[~right], 0.9)
    assert np.median(values[right]) > 0.0, "more likely right than wrong: no question was its own neighbour"


def test_what_serves_and_what_is_studied_score_alike(encoder) -> None:
    cached = entries(encoder)
    by = fit_score(cached)
    found = ask(cached, cached.texts, cached.vectors, np.eye(len(cached), dtype=np.bool_))
    one_by_one = [score(row, by) for row in found.signals.tolist()]
    assert scores(found.signals, by).tolist() == pytest.approx(one_by_one)
    vetoed = AnswerScore(by.intercept, by.weights, ("guard",))
    signals = found.signals.copy()
    signals[0, 5] = 1.0
    assert scores(signals, vetoed)[0] == -math.inf == score(signals[0].tolist(), vetoed)


def test_answers_with_one_question_each_teach_nothing(encoder) -> None:
    texts = [f"subject {n}, question 1" for n in range(60)]
    with pytest.raises(ConfigError, match="50 that share their answer with another; 0 do"):
        fit_score(Entries(texts, texts, encoder.encode(texts)))
    with pytest.raises(ConfigError, match="two different answers"):
        fit_score(Entries(texts, ["a"] * 60, encoder.encode(texts)))


def test_the_metric_forgets_the_direction_in_which_equal_answers_differ() -> None:
    answers = [str(n) for n in range(10) for _ in range(20)]
    centres = np.repeat(RNG.normal(size=(10, 4)), 20, axis=0)
    vectors = unit(centres + RNG.normal(size=(200, 4)) * np.array([3.0, 0.1, 0.1, 0.1]))
    metric = fit_metric(vectors, answers)
    lengths = np.linalg.norm(metric, axis=1)
    assert lengths[0] < 0.8 * lengths[1:].min()


def test_without_repeated_answers_the_metric_changes_no_cosine() -> None:
    vectors = unit(RNG.normal(size=(12, 4)))
    assert np.allclose(fit_metric(vectors, [str(n) for n in range(12)]), np.eye(4))


def test_delta_is_split_over_tenants_and_tasks() -> None:
    values = RNG.random(260)
    alone = fit_threshold(values, np.zeros(260), 0.01, 0.1, 1, None)
    shared = fit_threshold(values, np.zeros(260), 0.01, 0.1, 10, None)
    assert math.isfinite(alone.value)
    assert (shared.value, shared.labels_missing) == (math.inf, 459 - 260)


def test_labels_drawn_with_propensities_keep_the_promise() -> None:
    values = RNG.random(20_000)
    wrong = (RNG.random(20_000) < 0.5 * (1.0 - values)).astype(np.float64)
    broken = 0
    for _ in range(60):
        propensity = np.where(values > 0.7, 0.2, 0.05)
        rows = np.flatnonzero(RNG.random(20_000) < propensity)
        found = fit_threshold(values[rows], wrong[rows], 0.05, 0.1, 1, 1.0 / propensity[rows])
        broken += float(((values >= found.value) * wrong).mean()) > 0.05
    assert broken <= 6
