"""What the rows in flight of a batch may cost together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.batches.budget import FREE_USD, RowBudget


@given(
    max_cost=st.integers(0, 10**9),
    window=st.integers(1, 20),
    most=st.integers(0, 10**8),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
def test_whatever_each_row_spends_of_its_limit_the_batch_never_costs_more(
    max_cost: int, window: int, most: int, shares: list[float]
) -> None:
    budget, spent, in_flight = RowBudget(max_cost, window), 0, dict[str, int]()
    for row, share in enumerate(shares):
        usd = None if len(in_flight) == window else budget.reserve(str(row), most, spent, len(shares) - row)
        if usd is not None:
            limit = in_flight[str(row)] = 0 if usd == FREE_USD else round(usd * 1e9)
            assert limit >= most
        elif in_flight:
            job_id, limit = next(iter(in_flight.items()))
            spent += int(limit * share)
            budget.release(job_id)
            del in_flight[job_id]

        assert spent + sum(in_flight.values()) <= max_cost


def test_the_only_row_may_cost_all_that_is_left() -> None:
    assert RowBudget(5_000_000_000, 1000).reserve("a", 1, 2_000_000_000, rows_left=1) == 3.0


def test_rows_in_flight_have_equal_shares_where_there_is_enough() -> None:
    budget = RowBudget(1_000_000_000, 4)

    assert [budget.reserve(str(n), 1, 0, rows_left=100) for n in range(4)] == [0.25] * 4


def test_where_there_is_little_fewer_rows_get_what_each_may_cost() -> None:
    budget = RowBudget(1_000_000_000, 1000)

    assert [budget.reserve(str(n), 400_000_000, 0, rows_left=100) for n in range(3)] == [0.4, 0.4, None]
    budget.release("0")
    assert budget.reserve("2", 400_000_000, 100_000_000, rows_left=100) == 0.4


def test_a_row_that_is_submitted_again_keeps_its_limit() -> None:
    budget = RowBudget(1_000_000_000, 2)

    assert [budget.reserve("a", 1, 0, rows_left=100), budget.reserve("a", 900_000_000, 0, rows_left=100)] == [0.5] * 2


def test_without_money_only_rows_that_cost_nothing_run() -> None:
    budget = RowBudget(5, 1000)

    assert budget.reserve("a", 1, 5, rows_left=1) is None
    assert budget.reserve("a", 0, 6, rows_left=1) == FREE_USD
