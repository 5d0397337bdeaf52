"""How long a start is expected to take: a guess until starts are seen, and then hardly moved by an odd one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.scaling import Capacity, ColdStart, ObservedStart
from policies.resilience.cold import asleep
from policies.scaling.cold_starts import KEPT, SAME_SECONDS, cold_seconds, expected, remembered

NOW = 10_000.0
SECONDS = st.floats(0.5, 5_000)


def starts(*seconds: float) -> list[ObservedStart]:
    return [ObservedStart(each, NOW + 1_000 * number) for number, each in enumerate(seconds)]


@pytest.mark.parametrize(
    ("guess", "seen", "seconds"),
    [
        (90, (), 90),
        (90, (360,), 180),  # one start: between the two, by factors
        (60, (600, 610), 600),  # two that agree have outvoted the guess
        (60, (600, 58), 60),
        (240, (93, 90, 96, 1_200), 96),  # one odd start among many moves it by a few seconds
        (240, (93, 90, 96, 0.5), 93),
    ],
)
def test_the_guess_gives_way_to_what_is_seen(guess: float, seen: tuple[float, ...], seconds: float) -> None:
    assert expected(guess, starts(*seen)) == ColdStart(pytest.approx(seconds), len(seen))


@pytest.mark.proves(
    "One odd start hardly moves how long a cold start is expected to take", how="stand-in", subject="Ray"
)
@given(usual=SECONDS, odd=st.floats(0.0, 1e6), guess=SECONDS)
def test_one_odd_start_among_three_that_agree_changes_nothing_much(usual: float, odd: float, guess: float) -> None:
    found = expected(guess, starts(usual, 1.1 * usual, odd, usual)).seconds
    assert usual / 1.0001 <= found <= 1.1001 * usual


@given(guess=SECONDS, seen=st.lists(SECONDS, max_size=KEPT))
def test_it_lies_between_the_least_and_the_greatest(guess: float, seen: list[float]) -> None:
    found = expected(guess, starts(*seen)).seconds
    assert min(guess, *seen, guess) / 1.0001 <= found <= 1.0001 * max(guess, *seen, guess)


def test_a_start_that_several_dispatchers_saw_counts_once_and_by_the_longest() -> None:
    seen: tuple[ObservedStart, ...] = ()
    for seconds, late in ((91.0, 0.0), (93.0, 2.0), (12.0, 3.5), (94.0, SAME_SECONDS + 10)):
        seen = remembered(seen, ObservedStart(seconds, NOW + late))
    assert seen == (ObservedStart(93.0, NOW + 2.0), ObservedStart(94.0, NOW + SAME_SECONDS + 10))


def test_the_last_starts_are_remembered_in_any_order_of_arrival() -> None:
    all_of_them = starts(*range(1, KEPT + 4))
    seen: tuple[ObservedStart, ...] = ()
    for each in reversed(all_of_them):
        seen = remembered(seen, each)
    assert seen == tuple(all_of_them[:KEPT]) or seen == tuple(all_of_them[-KEPT:])
    assert remembered(seen, all_of_them[-1])[-1] == all_of_them[-1]


def test_a_job_is_told_to_wait_as_long_as_starts_were_seen_to_take(rules, view) -> None:
    target = rules.catalogue.targets["llama-8b"]
    there = view()

    def warm_at(capacity: Capacity) -> float:
        targets = {**there.targets, "llama-8b": replace(there.targets["llama-8b"], capacity=capacity)}
        found = asleep(target, replace(there, targets=targets), NOW)
        assert found is not None
        return found.warm_at

    learned = ColdStart(900.0, 5)
    assert warm_at(Capacity(0)) == NOW + target.serving.cold_seconds
    assert warm_at(Capacity(0, cold_start=learned)) == NOW + 900
    assert warm_at(Capacity(0, 1, NOW - 300, cold_start=learned)) == NOW + 600
    assert cold_seconds(target, Capacity(0, cold_start=learned)) == 900.0
