"""The simulation of several dispatchers asks as often as they would."""

from __future__ import annotations

from benchmarks.coalescing import drawn, figures


def test_one_dispatcher_asks_once_for_each_prompt():
    found = figures(drawn(2_000, 300), rate=1_000.0, seconds=0.5, dispatchers=1)
    assert found["calls"] == found["calls_needed"] and found["of_jobs"] == 0


def test_of_equal_jobs_at_once_each_dispatcher_asks_for_one():
    found = figures([0] * 1_000, rate=1e6, seconds=1.0, dispatchers=4)
    assert (found["calls"], found["calls_needed"], found["in_flight"], found["untold"]) == (4, 1, 3, 0)


def test_what_all_were_told_is_asked_for_no_more():
    assert figures([0] * 1_000, rate=1e-3, seconds=1.0, dispatchers=4)["calls"] == 1
