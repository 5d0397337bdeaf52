"""Rounds become rows and ratios; what cannot be said is said in words, never by a figure."""

from __future__ import annotations

import json

import pytest

from benchmarks.peers.table import PeerRow, RateRatio, Round, comparison, document, lines, row_of

TIMES = [float(n) for n in range(1, 101)]


def rounds(*rates: float) -> list[Round]:
    return [Round(rate, TIMES, 1_000 / rate, 10.0) for rate in rates]


def test_a_row_has_the_medians_of_the_rounds_and_their_range() -> None:
    row = row_of("celery", rounds(100.0, 300.0, 200.0), {"lost": 1, "doubled": 2, "ran_twice": 3})
    assert (row.jobs_per_second, row.jobs_per_second_low, row.jobs_per_second_high) == (200.0, 100.0, 300.0)
    assert row.cpu_us_per_job == 5.0
    assert row.idle_p50_ms == 50.5
    assert (row.lost, row.doubled, row.ran_twice) == (1, 2, 3)


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # The machine got slower in the second round, for both.
    found = comparison([1_000.0, 500.0, 900.0], [200.0, 100.0, 150.0])
    assert found.value == 5.0
    assert (found.low, found.high) == (5.0, 6.0)


def test_a_ratio_of_rounds_that_differ_too_much_is_refused_with_the_reason() -> None:
    found = comparison([1_000.0, 1_000.0], [200.0, 100.0])
    assert found.value is None
    assert found.reason == "the rounds differ too much: 5.00 to 10.00"


def test_a_peer_that_could_not_run_has_a_note_and_neither_figures_nor_a_ratio() -> None:
    note = "not measured: redis-server is not installed (apt-get install redis-server)"
    row = row_of("celery", [], {}, note)
    found = comparison([1_000.0], [], note)
    assert row == PeerRow("celery", note=note)
    assert found == RateRatio(None, reason=note)
    printed = document([row], [], {"fleet_over_celery": found}, {"cores": 2}, {})
    assert printed["fleet_over_celery"] is None
    assert f"celery: {note}" in lines(printed)
    assert f"fleet_over_celery: none, {note}" in lines(printed)


def test_json_and_table_show_the_same_figures() -> None:
    rows = [row_of("fleet", rounds(1_000.0), {"lost": 0, "doubled": 0, "ran_twice": 4})]
    calls = [{"way": "direct", "p50_ms": 1.25, "p99_ms": 2.0, "added_p50_ms": 0.0, "added_p99_ms": 0.0}]
    added = {f"{cut}_ms{end}": 3.0 for cut in ("p50", "p99") for end in ("", "_low", "_high")}
    printed = document(rows, calls, {"fleet_over_raw": comparison([1_000.0], [4_000.0])}, {"cores": 2}, added)
    assert json.loads(json.dumps(printed)) == printed
    assert printed["rows"][0]["jobs_per_second"] == 1_000.0
    assert printed["fleet_over_raw"] == 0.25
    text = "\n".join(lines(printed))
    assert "1,000" in text
    assert "fleet_over_raw: 0.25 (0.25 to 0.25)" in text
    assert "cores 2" in text
    assert "the gateway adds to client.run: 3.0 ms (3.0 to 3.0) at p50, 3.0 ms (3.0 to 3.0) at p99" in text


@pytest.mark.parametrize(
    "key",
    ["peer", "jobs_per_second", "idle_p50_ms", "idle_p99_ms", "cpu_us_per_job", "lost", "doubled"],
)
def test_every_row_has_the_promised_keys(key: str) -> None:
    [row] = document([PeerRow("litellm proxy", note="keeps no jobs")], [], {}, {}, {})["rows"]
    assert key in row
