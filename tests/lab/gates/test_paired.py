"""The tests of two models on the same questions err as seldom as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fleet.lab.gates.paired import (
    Counts,
    change,
    counted,
    improvement,
    missing_to_be_safe,
    missing_to_improve,
    win_rate,
)
from fleet.lab.metrics.bounds import binomial

ALPHA, MARGIN, REPEATS = 0.05, 0.03, 500


def drawn(rng: np.random.Generator, n: int, better: float, worse: float) -> Counts:
    gains, losses, _ = rng.multinomial(n, [better, worse, 1.0 - better - worse])
    return Counts(n, int(gains), int(losses))


def test_pairs_are_counted_by_who_was_right() -> None:
    assert counted([(True, True), (False, True), (True, False), (False, True), (False, False)]) == Counts(5, 2, 1)


@pytest.mark.parametrize(("better", "worse"), [(5, 0), (4, 0), (13, 5), (12, 5), (30, 30), (9, 1), (8, 1), (7, 1)])
def test_an_improvement_is_shown_exactly_where_the_sign_test_shows_it(better: int, worse: int) -> None:
    rejects = binomial(worse / (better + worse), better + worse, 0.5) <= ALPHA
    assert (improvement(Counts(100, better, worse), ALPHA).low > 0.0) is rejects
    assert (win_rate(Counts(100, better, worse), ALPHA).low > 0.5) is rejects


def test_an_adapter_that_changes_nothing_is_called_better_as_seldom_as_stated() -> None:
    rng = np.random.default_rng(1)
    shown = sum(improvement(drawn(rng, 200, 0.1, 0.1), ALPHA).low > 0.0 for _ in range(REPEATS))
    assert 0 < shown <= ALPHA * REPEATS
    assert improvement(Counts(200, 0, 0), ALPHA).low == 0.0


@pytest.mark.parametrize(("better", "worse"), [(0.0, MARGIN), (0.05, 0.05 + MARGIN)])
def test_an_adapter_that_loses_the_margin_is_called_harmless_as_seldom_as_stated(better: float, worse: float) -> None:
    rng = np.random.default_rng(2)
    passed = sum(change(drawn(rng, 400, better, worse), ALPHA).low >= -MARGIN for _ in range(REPEATS))
    assert passed <= ALPHA * REPEATS


def test_an_adapter_that_harms_nothing_passes() -> None:
    assert change(Counts(130, 0, 0), ALPHA).low >= -MARGIN
    assert change(Counts(400, 12, 2), ALPHA).low >= -MARGIN


def test_too_few_questions_are_told_by_how_many_are_missing() -> None:
    missing = missing_to_be_safe(Counts(50, 0, 0), MARGIN, ALPHA)
    assert change(Counts(50 + missing, 0, 0), ALPHA).low >= -MARGIN > change(Counts(49 + missing, 0, 0), ALPHA).low
    seldom = 200 + missing_to_be_safe(Counts(200, 0, 2), MARGIN, ALPHA)
    assert (
        change(Counts(seldom, 0, math.ceil(seldom / 100)), ALPHA).low >= -MARGIN > change(Counts(200, 0, 2), ALPHA).low
    )
    assert missing_to_be_safe(Counts(200, 1, 50), MARGIN, ALPHA) == 0, "no number of questions helps"
    few = Counts(40, 6, 2)
    grown = 40 + missing_to_improve(few, ALPHA)
    assert grown > 40
    assert improvement(Counts(2 * grown, 12 * grown // 40, 4 * grown // 40), ALPHA).low > 0.0
    assert missing_to_improve(Counts(3, 0, 0), ALPHA) == 2
    assert change(Counts(0, 0, 0), ALPHA).low == -1.0
