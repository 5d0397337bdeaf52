"""The rows of a batch that are done, in memory and in its entry."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.batches.done import DoneRows
from fleet.model.batch import Progress

ROWS = st.lists(st.integers(0, 300), max_size=200)


@given(ROWS)
def test_exactly_the_rows_that_were_added_are_done_in_any_order(rows: list[int]) -> None:
    done = DoneRows()
    for row in rows:
        done.add(row)

    assert {row for row in range(400) if row in done} == set(rows)
    assert done.below == next(row for row in range(400) if row not in rows)


@given(ROWS, ROWS)
def test_an_entry_brings_back_the_rows_and_goes_on(rows: list[int], more: list[int]) -> None:
    done = DoneRows()
    for row in rows:
        done.add(row)

    again = DoneRows.of(Progress(done.below, done.beyond))
    for row in more:
        again.add(row)

    assert {row for row in range(400) if row in again} == {*rows, *more}


def test_rows_in_their_order_leave_nothing_beyond() -> None:
    done = DoneRows()
    for row in range(100_000):
        done.add(row)

    assert (done.below, done.beyond) == (100_000, "")


def test_a_row_that_is_late_by_a_hundred_thousand_costs_hardly_anything() -> None:
    done = DoneRows()
    for row in range(1, 100_000):
        done.add(row)

    assert done.below == 0
    assert len(done.beyond) < 1000


def test_a_block_in_the_worst_order_fits_into_an_entry() -> None:
    done = DoneRows()
    for row in random.Random(7).sample(range(5_000), 2_500):
        done.add(row)

    assert len(done.beyond) < 1500


@pytest.mark.parametrize("beyond", ["!", "AAAA", "e30="])
def test_what_holds_no_rows_is_refused(beyond: str) -> None:
    with pytest.raises(ValueError, match=r"progress\.beyond"):
        DoneRows.of(replace(Progress(), beyond=beyond))
