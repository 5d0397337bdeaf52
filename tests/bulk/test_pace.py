"""How fast a batch goes, and when it will be through, as far as what was seen tells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.bulk.pace import MIN_SAMPLES, Outlook, Pace


def noted(*counts: int, every_seconds: float = 1.0) -> Pace:
    pace = Pace()
    for number, done in enumerate(counts):
        pace.note(number * every_seconds, done)
    return pace


def test_a_steady_batch_ends_at_a_known_time() -> None:
    assert noted(0, 10, 20, 30, 40).outlook(100, cost_usd=0.4) == Outlook(10.0, 6.0, 6.0, pytest.approx(1.0))


def test_an_unsteady_batch_ends_within_an_interval() -> None:
    outlook = noted(0, 5, 20, 25, 40, 45, 60).outlook(160, cost_usd=0.0)
    assert outlook is not None
    assert (outlook.earliest_seconds, outlook.latest_seconds) == (pytest.approx(100 / 15), pytest.approx(100 / 5))


@pytest.mark.parametrize("counts", [(), (0,), (0, 1, 2), (0, 0, 0, 0, 0, 0), (5, 5, 5, 5, 5, 5)])
def test_nothing_is_said_of_a_batch_that_has_hardly_begun_or_stands_still(counts: tuple[int, ...]) -> None:
    assert noted(*counts).outlook(100, cost_usd=0.0) is None


def test_two_notes_of_one_moment_are_one() -> None:
    pace = noted(0, 10, 20, 30, 40)
    pace.note(4.0, 50)
    assert pace.outlook(100, 0.0) == noted(0, 10, 20, 30, 40).outlook(100, 0.0)


@given(st.lists(st.integers(0, 100), min_size=MIN_SAMPLES + 1, max_size=100), st.integers(0, 10_000))
def test_the_best_time_is_never_after_the_worst(steps: list[int], left: int) -> None:
    counts = [sum(steps[: number + 1]) for number in range(len(steps))]
    outlook = noted(*counts).outlook(counts[-1] + left, cost_usd=1.0)
    if outlook is not None:
        assert 0 <= outlook.earliest_seconds <= outlook.latest_seconds
        assert outlook.cost_usd >= 1.0
