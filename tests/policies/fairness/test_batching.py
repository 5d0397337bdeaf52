"""Micro-batches with adapters: only so many different ones, equal ones side by side, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.fairness.batching import together

asked = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=20)


def test_a_rare_adapter_beside_a_flood_goes_with_the_first_batch_that_it_is_the_oldest_of() -> None:
    assert together(["a", "rare", "a", None, "a"], 3, 1) == [0, 2, 3]
    assert together(["rare", "a", "a", "a"], 3, 1) == [0]


@given(asked, st.integers(1, 8), st.integers(1, 4))
def test_a_batch_has_the_oldest_job_and_no_more_different_adapters_than_the_target_takes(
    adapters: list[str | None], count: int, at_once: int
) -> None:
    places = together(adapters, count, at_once)
    chosen = [adapters[place] for place in places]
    runs = [adapter for number, adapter in enumerate(chosen) if number == 0 or chosen[number - 1] != adapter]

    assert 0 in places and len(set(places)) == len(places) <= count
    assert len(runs) == len(set(chosen)) and len(set(chosen) - {None}) <= at_once
    others = set(range(len(adapters))) - set(places)
    assert len(places) == count or all(adapters[place] not in {None, *chosen} for place in others)


@given(asked, st.integers(1, 8), st.integers(1, 4))
def test_batch_after_batch_every_job_goes_at_last(adapters: list[str | None], count: int, at_once: int) -> None:
    waiting, batches = adapters, 0
    while waiting:
        places = set(together(waiting, count, at_once))
        waiting = [adapter for place, adapter in enumerate(waiting) if place not in places]
        batches += 1

    assert batches <= len(adapters)
