"""Fitting a router to made-up prompts: the small model fails at proofs and at long sums, the strong one seldom."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.lab.router.fit import FEWEST_LABELS, Blend, fit_router, fit_with_parts
from fleet.lab.router.parts import FittedParts, Texts
from fleet.model.errors import ConfigError
from fleet.model.router import Router, to_plain
from policies.routing.learned_router import read, suffices, switch_on

HARD = ("prove", "theorem", "integral", "lemma", "converges")
EASY = ("thank", "colleague", "birthday", "greeting", "polite")
BOTH = ("please", "write", "the", "for", "about", "short", "with", "team", "a", "our")


@dataclass(frozen=True)
class Made:
    prompts: list[str]
    weak: list[float]
    strong: list[float]
    answers: list[str]


@cache
def made(count: int, seed: int = 1) -> Made:
    rng = np.random.default_rng(seed)
    hard = rng.random(count) < 0.5
    prompts = [
        " ".join([*rng.choice(HARD if tough else EASY, 2), *rng.choice(BOTH, 6), str(rng.integers(99))])
        for tough in hard
    ]
    weak = (rng.random(count) < np.where(hard, 0.35, 0.9)).astype(float)
    strong = (rng.random(count) < 0.92).astype(float)
    answers = [f"So 2 + 3 = {5 if right else 6}.\n#### {5 if right else 6}" for right in weak]
    return Made(prompts, weak.tolist(), strong.tolist(), answers)


@cache
def fitted(with_answer: bool) -> tuple[Router, FittedParts, Blend]:
    data = made(400)
    rng = np.random.default_rng(7)
    return fit_with_parts(data.prompts, data.weak, data.strong, rng, answers=data.answers if with_answer else None)


some_text = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*HARD, *EASY, *BOTH, "7", "$5.00", "x = 3?"]), max_size=30).map(" ".join),
)


@settings(max_examples=150)
@given(some_text, some_text, st.booleans())
def test_the_exported_router_agrees_with_scikit_learn(prompt: str, answer: str, with_answer: bool) -> None:
    router, parts, blend = fitted(with_answer)
    texts = Texts.of([prompt], [answer] if with_answer else None)
    log_odds = float(blend.log_odds(parts.gains(texts))[0])

    found = read(router, prompt, answer if with_answer else None)

    assert found.suffices == pytest.approx(1 / (1 + np.exp(-log_odds)), abs=1e-6)


def test_it_tells_what_the_small_model_can_do_from_what_it_cannot() -> None:
    router, _, _ = fitted(False)
    test = made(300, seed=2)
    chances = [suffices(router, prompt) for prompt in test.prompts]

    assert sum(chance is None for chance in chances) / len(chances) < 0.05
    assert (router.apgr or 0) > 0.65
    sure = [(chance, prompt.split()[0] in HARD) for chance, prompt in zip(chances, test.prompts, strict=True) if chance]
    assert np.mean([chance for chance, hard in sure if hard]) < 0.5
    assert np.mean([chance for chance, hard in sure if not hard]) > 0.7


def test_reading_the_answer_helps_where_its_arithmetic_shows_the_fault() -> None:
    assert (fitted(True)[0].apgr or 0) > (fitted(False)[0].apgr or 0) + 0.1


@pytest.mark.parametrize(
    "text", ["Schreibe bitte einen kurzen Gruss", "def f(x):\n    return {x: [1, 2]}\n" * 5, "the " * 400]
)
def test_a_text_unlike_the_training_gets_no_verdict(text: str) -> None:
    assert suffices(fitted(False)[0], text) is None


def test_the_same_labels_and_seed_give_the_same_router_under_the_same_version() -> None:
    data = made(150)
    routers = [fit_router(data.prompts, data.weak, data.strong, np.random.default_rng(seed)) for seed in (3, 3, 4)]

    assert routers[0] == routers[1]
    assert routers[0].version == routers[1].version != routers[2].version


def test_a_router_of_many_words_stays_small_enough_to_ship() -> None:
    rng = np.random.default_rng(5)
    prompts = [" ".join(f"word{number}" for number in rng.integers(20_000, size=60)) for _ in range(3_000)]
    good = (rng.random((2, 3_000)) < 0.6).astype(float)
    router = fit_router(prompts, good[0].tolist(), good[1].tolist(), rng)

    assert len(json.dumps(to_plain(router))) <= 512 * 1024


def test_labels_without_a_pattern_give_no_better_order_than_chance() -> None:
    data, rng = made(600, seed=8), np.random.default_rng(9)
    router = fit_router(data.prompts, rng.permutation(data.weak).tolist(), data.strong, rng)

    assert router.apgr_ci is not None
    assert router.apgr_ci[0] < 0.5
    assert not switch_on(router).on


def test_a_prompt_that_comes_twice_is_never_judged_by_its_twin() -> None:
    """Were twins split between folds, words that name a prompt would seem to predict its label."""
    rng = np.random.default_rng(11)
    prompts = [f"please write about topic{number} item{number} case{number}" for number in range(150)] * 4
    weak = np.tile((rng.random(150) < 0.5).astype(float), 4)
    router = fit_router(prompts, weak.tolist(), [1.0] * 600, rng)

    assert router.apgr is not None
    assert router.apgr < 0.6


Change = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda labels: {name: values[: FEWEST_LABELS - 1] for name, values in labels.items()}, "prompts"),
        (lambda labels: labels | {"prompts": ["the same"] * 400}, "prompts"),
        (lambda labels: labels | {"prompts": [f"word{number}" for number in range(400)]}, "prompts"),
        (lambda labels: labels | {"weak_good": labels["weak_good"][1:]}, "weak_good"),
        (lambda labels: labels | {"answers": ["5"]}, "answers"),
        (lambda labels: labels | {"weak_good": [float("nan"), *labels["weak_good"][1:]]}, "weak_good[0]"),
        (lambda labels: labels | {"strong_good": [*labels["strong_good"][:-1], 1.5]}, "strong_good[399]"),
        (lambda labels: labels | {"strong_good": [0.0] * 400}, "strong_good"),
        (lambda labels: labels | {"strong_good": [1.0] * 400, "weak_good": [0.0] * 400}, "strong_good"),
    ],
)
def test_labels_that_cannot_be_fitted_are_refused_by_field_and_rule(change: Change, field: str) -> None:
    data = made(400)
    labels = change({"prompts": data.prompts, "weak_good": data.weak, "strong_good": data.strong})

    with pytest.raises(ConfigError) as refused:
        fit_router(rng=np.random.default_rng(1), **labels)
    assert refused.value.field == field
    assert "must" in refused.value.rule


@pytest.mark.parametrize(
    ("labels", "lower_bound", "length", "on", "word"),
    [
        (500, 0.61, 0.60, True, "better than prompt length"),
        (499, 0.61, 0.60, False, "500"),
        (500, 0.60, 0.60, False, "not surely better"),
        (500, 0.55, 0.60, False, "not surely better"),
        (500, None, None, False, "gains too little"),
    ],
)
def test_it_is_switched_on_only_if_it_surely_beats_prompt_length(
    labels: int, lower_bound: float | None, length: float | None, on: bool, word: str
) -> None:
    interval = None if lower_bound is None else (lower_bound, 0.7)
    verdict = switch_on(replace(fitted(False)[0], labels=labels, apgr_ci=interval, length_apgr=length))

    assert verdict.on is on
    assert word in verdict.reason
