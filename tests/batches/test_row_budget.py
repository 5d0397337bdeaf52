"""What the rows in flight of a batch may cost together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.batches.budget import FREE_USD, RowBudget


@given(
    max_cost=st.integers(0, 10**9),
    window=st.integers(1, 20),
    rows=st.integers(1, 60),
    shares=st.lists(st.floats(0, 1), min_size=60, max_size=60),
)
def test_whatever_each_row_spends_of_its_limit_the_batch_never_costs_more(
    max_cost: int, window: int, rows: int, shares: list[float]
) -> None:
    budget, spent, in_flight = RowBudget(max_cost, window), 0, dict[str, int]()
    for row in range(rows):
        if len(in_flight) == window:
            job_id, limit = next(iter(in_flight.items()))
            spent += int(limit * shares[row])
            budget.release(job_id)
            del in_flight[job_id]
        usd = budget.reserve(str(row), spent, rows - row)
        in_flight[str(row)] = 0 if usd == FREE_USD else round(usd * 1e9)

    assert spent + sum(in_flight.values()) <= max_cost


def test_the_only_row_may_cost_all_that_is_left() -> None:
    assert RowBudget(5_000_000_000, 1000).reserve("a", 2_000_000_000, rows_left=1) == 3.0


def test_rows_in_flight_have_equal_shares() -> None:
    budget = RowBudget(1_000_000_000, 4)

    assert [budget.reserve(str(n), 0, rows_left=100) for n in range(4)] == [0.25] * 4


def test_without_money_only_free_targets_are_left() -> None:
    assert RowBudget(5, 1000).reserve("a", 5, rows_left=1) == FREE_USD
