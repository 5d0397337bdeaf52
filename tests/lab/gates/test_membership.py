"""A probe says whether rows are told from others, with an interval that holds."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.lab.gates.membership import Membership, probed


def draws(shift: float, count: int, seed: int) -> list[float]:
    found: list[float] = (np.random.default_rng(seed).normal(size=count) + shift).tolist()
    return found


@pytest.mark.parametrize(
    ("shift", "rows", "verdict"),
    [
        (0.0, 400, Membership.AT_CHANCE),
        (1.0, 50, Membership.TOLD_APART),
        (0.0, 10, Membership.TOO_FEW),
        (-1.0, 50, Membership.UNLIKE),
    ],
)
def test_rows_are_told_apart_or_not_or_are_too_few(shift: float, rows: int, verdict: Membership) -> None:
    found = probed(draws(shift, rows, 1), draws(0.0, rows, 2))
    assert found.verdict is verdict
    assert found.low <= found.auc <= found.high


def test_rows_that_are_all_easier_are_told_apart_and_the_interval_stays_within_one() -> None:
    found = probed([2.0] * 10, [1.0] * 10)
    assert (found.verdict, found.auc, found.high) == (Membership.TOLD_APART, 1.0, 1.0)
    assert 0.6 < found.low < 1.0


def test_of_many_probes_of_rows_that_nobody_knows_at_most_one_in_twenty_errs() -> None:
    found = [probed(draws(0.0, 60, seed), draws(0.0, 90, 1000 + seed)) for seed in range(400)]
    erring = sum(each.verdict in (Membership.TOLD_APART, Membership.UNLIKE) for each in found)
    assert 5 <= erring <= 28  # 20 expected, sd 4.4


def test_a_smaller_limit_asks_for_more_rows() -> None:
    rows = draws(0.0, 400, 1), draws(0.0, 400, 2)
    assert probed(*rows, 0.51).verdict is Membership.TOO_FEW
