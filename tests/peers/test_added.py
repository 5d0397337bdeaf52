"""What a way of making a call adds is taken in each round, from calls that the same machine made beside it."""

from __future__ import annotations

import pytest

from benchmarks.peers.added import calls_of, gateway_of, over_proxy
from benchmarks.peers.calls import Synchronous


def one_round(direct: float, proxy: float, client: float, gateway: float) -> Synchronous:
    times = [[ms] * 10 for ms in (direct, proxy, client, gateway)]
    return Synchronous(*times, proxy_calls_per_second=30.0, proxy_us=1.0)


def test_each_way_has_its_medians_and_what_it_adds_to_a_direct_call() -> None:
    # The machine was slower in the second round, for all.
    found = calls_of(
        [one_round(5.0, 35.0, 25.0, 30.0), one_round(10.0, 70.0, 50.0, 60.0), one_round(5.0, 45.0, 25.0, 30.0)]
    )
    assert [(each["way"], each["p50_ms"], each["added_p50_ms"], each["added_p99_ms"]) for each in found] == [
        ("direct", 5.0, 0.0, 0.0),
        ("litellm proxy", 45.0, 40.0, 40.0),
        ("fleet client.run", 25.0, 20.0, 20.0),
        ("fleet gateway", 30.0, 25.0, 25.0),
    ]


def test_what_the_gateway_adds_to_client_run_has_its_range() -> None:
    found = gateway_of(
        [one_round(5.0, 35.0, 25.0, 28.0), one_round(5.0, 35.0, 20.0, 30.0), one_round(5.0, 35.0, 25.0, 29.0)]
    )
    assert (found["p50_ms"], found["p50_ms_low"], found["p50_ms_high"]) == (4.0, 3.0, 10.0)
    assert (found["p99_ms"], found["p99_ms_low"], found["p99_ms_high"]) == (4.0, 3.0, 10.0)


def test_the_gateway_is_compared_with_the_proxy_by_what_both_add() -> None:
    found = over_proxy([one_round(5.0, 45.0, 20.0, 25.0), one_round(10.0, 90.0, 40.0, 50.0)], "")
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("rounds", "reason"),
    [
        ([(5.0, 45.0, 20.0, 25.0), (5.0, 45.0, 20.0, 45.0)], "the rounds differ too much: 0.50 to 1.00"),
        ([(5.0, 4.0, 20.0, 25.0)], "in one of the rounds a direct call took longer"),
        ([], "not measured: no environment of the peers (make peers)"),
    ],
)
def test_a_comparison_that_says_nothing_is_refused_with_the_reason(
    rounds: list[tuple[float, float, float, float]], reason: str
) -> None:
    found = over_proxy([one_round(*each) for each in rounds], "not measured: no environment of the peers (make peers)")
    assert (found.value, found.reason) == (None, reason)


def test_without_a_round_nothing_is_said() -> None:
    assert (calls_of([]), gateway_of([])) == ([], {})
