"""A promise that is tested again and again is broken in no more histories than it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fleet.lab.learning.looks import delta_at, is_due
from fleet.lab.learning.thresholds import labels_missing
from fleet.lab.metrics.bounds import PValue, binomial, hoeffding_bentkus, largest_passing
from fleet.model.calibration import NO_LOOKS, Looks

RISK, DELTA = 0.05, 0.10


def test_what_all_tests_may_spend_adds_up_to_delta() -> None:
    assert [DELTA / delta_at(look, DELTA) for look in (1, 2, 3)] == pytest.approx([2, 6, 12])
    assert math.fsum(delta_at(look, DELTA) for look in range(1, 100_000)) == pytest.approx(DELTA, abs=1e-5)


def spent(most: int, step: int) -> dict[int, float]:
    """The delta of the tests made of `fleet calibrate` run at every `step` labels, by the number of labels."""
    looks, found = NO_LOOKS, {}
    for n in range(step, most + 1, step):
        delta = delta_at(looks.count + 1, DELTA)
        if is_due(looks, n - looks.labels, n) and not labels_missing(np.ones(n), RISK, delta):
            looks, found[n] = Looks(looks.count + 1, n), delta
    return found


def ever_wrong(tests: dict[int, float], bound: PValue, loss: float) -> float:
    random = np.random.default_rng(1)
    losses = np.cumsum(random.random((2_000, max(tests))) < loss, axis=1)[:, [n - 1 for n in tests]]
    limits = [largest_passing(n, RISK, delta, bound) for n, delta in tests.items()]
    return float((losses <= np.array(limits)).any(axis=1).mean())


@pytest.mark.parametrize("step", [10, 50])
@pytest.mark.parametrize("loss", [0.0501, 0.052])
def test_in_two_thousand_histories_no_more_promises_are_ever_broken_than_delta_allows(step: int, loss: float) -> None:
    assert ever_wrong(spent(3_000, step), binomial, loss) <= DELTA
    assert ever_wrong(spent(3_000, step), hoeffding_bentkus, loss) <= DELTA


def test_at_the_whole_delta_each_time_more_would_be_broken() -> None:
    """What the rule is for: without it the same histories break it."""
    assert ever_wrong(dict.fromkeys(range(50, 3_001, 50), DELTA), hoeffding_bentkus, 0.0505) > 1.5 * DELTA


def test_a_dozen_adapters_break_no_more_promises_together_than_one() -> None:
    """Each has labels of its own, loses a hair too much, and is tested once: as the next of them all, or as a first."""
    random = np.random.default_rng(2)
    losses = random.binomial(400, 0.0505, (2_000, 12))
    through, apart = (
        [largest_passing(400, RISK, delta_at(look, DELTA), binomial) for look in looks]
        for looks in (range(1, 13), [1] * 12)
    )
    assert 0.5 * DELTA < (losses <= through).any(axis=1).mean() <= DELTA
    assert (losses <= apart).any(axis=1).mean() > 2 * DELTA


@pytest.mark.parametrize(
    ("looks", "fresh", "labels", "due"),
    [
        (NO_LOOKS, 0, 60, True),
        (Looks(1, 60), 14, 74, False),
        (Looks(1, 60), 19, 75, True),
        (Looks(3, 60), 60, 60, True),
    ],
)
def test_another_test_is_due_once_a_quarter_of_the_labels_is_new(
    looks: Looks, fresh: int, labels: int, due: bool
) -> None:
    assert is_due(looks, fresh, labels) is due


def test_what_so_few_labels_cannot_pass_is_no_test() -> None:
    assert [labels_missing(np.ones(n), RISK, DELTA / 2) for n in (0, 58, 59)] == [59, 1, 0]
