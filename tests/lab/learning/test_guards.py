"""A cascade goes off when it does harm, and not because labels are few."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from fleet.lab.learning.guards import guard
from fleet.model.calibration import Guard

World = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray, np.ndarray]]


def useful(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence is what it says, and the strong target is right nine times of ten."""
    confidences = rng.beta(2.0, 1.0, n)
    return confidences, rng.random(n) < confidences, rng.random(n) < 0.9


def shuffled(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidences, weak, strong = useful(n, rng)
    return rng.permutation(confidences), weak, strong


def backwards(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidences, weak, strong = useful(n, rng)
    return 1.0 - confidences, weak, strong


def equally_good(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strong target is a little worse on the very answers that escalate."""
    confidences, weak, _ = useful(n, rng)
    return confidences, weak, rng.random(n) < confidences - 0.05


def modest(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strong target gains, but not so much that a dozen answers would always show it."""
    confidences, weak, _ = useful(n, rng)
    return confidences, weak, rng.random(n) < 0.75


def share(world: World, n: int, found: Guard | None, threshold: float = 0.6) -> float:
    rng = np.random.default_rng(1)
    return float(np.mean([guard(*world(n, rng), threshold, rng) is found for _ in range(20)]))


@pytest.mark.parametrize("n", [2, 10, 30, 100, 300])
def test_a_useful_cascade_stays_on_however_few_the_labels(n: int) -> None:
    assert share(useful, n, None) >= 0.95


@pytest.mark.parametrize("world", [shuffled, backwards])
def test_confidence_that_sorts_nothing_is_found_from_two_hundred_labels_on(world: World) -> None:
    assert share(world, 200, Guard.NO_BETTER_THAN_MIXING, threshold=math.inf) >= 0.8


def test_a_strong_target_that_does_not_gain_on_what_it_gets_is_found() -> None:
    assert share(equally_good, 400, Guard.STRONG_DOES_NOT_GAIN) >= 0.8


@pytest.mark.parametrize("n", [2, 5, 12])
def test_a_few_answers_on_which_both_agree_do_not_prove_that_nothing_is_gained(n: int) -> None:
    rng = np.random.default_rng(4)
    assert guard(rng.random(n), np.ones(n), np.ones(n), 1.0, rng) is None
    assert share(modest, n, None, threshold=0.8) == 1.0


def test_hundred_answers_on_which_both_agree_do() -> None:
    rng = np.random.default_rng(4)
    assert guard(rng.random(100), np.ones(100), np.ones(100), 1.0, rng) is Guard.STRONG_DOES_NOT_GAIN


def test_a_small_gap_with_gain_where_it_matters_is_no_reason_to_go_off() -> None:
    """Weak and strong are equally good overall, but not on the same answers: the mix beats both."""
    rng = np.random.default_rng(2)
    confidences = rng.random(600)
    weak, strong = rng.random(600) < confidences, rng.random(600) < 0.5
    assert guard(confidences, weak, strong, 0.5, rng) is None


def test_nothing_escalates_and_both_are_always_right_is_undecided() -> None:
    always = np.ones(50)
    assert guard(np.linspace(0.5, 1.0, 50), always, always, 0.4, np.random.default_rng(3)) is None
