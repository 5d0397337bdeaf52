"""Every alert is fired by a real fault, and what tells so would notice if it were not."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_server import prometheus_binary

from benchmarks.alerts.faults import FAULTS, Fault
from benchmarks.alerts.recorded import NotAsDeclared, prove, series_of, total


@pytest.fixture(scope="session")
def promtool() -> None:
    """For tests that need the program."""
    prometheus_binary("promtool")


UP = '# HELP fleet_work_in_flight Jobs.\nfleet_work_in_flight{target="llama-8b"} 0.0\nfleet_ledger_lag_seconds 0.0\n'


@pytest.mark.proves("Each fault fires the alerts that are due, in time, and no other", how="stand-in")
@pytest.mark.e2e
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_fault_fires_the_alerts_that_are_due_in_time_and_no_other(
    fault: Fault, promtool: None, tmp_path: Path
) -> None:
    await fault.prove(tmp_path)


def test_a_series_ends_where_its_process_does_not_answer_and_goes_on_with_it() -> None:
    found = series_of([[UP], [None], [None], [UP.replace("} 0.0", "} 3.0")], [None]])
    assert found['fleet_work_in_flight{target="llama-8b",instance="0",job="fleet"}'] == [
        "0.0",
        "stale",
        "_",
        "3.0",
        "stale",
    ]


def test_a_series_that_begins_later_has_nothing_before() -> None:
    found = series_of([[None, UP], [UP, UP], [UP, UP]])
    assert found['fleet_ledger_lag_seconds{instance="0",job="fleet"}'] == ["_", "0.0", "0.0"]
    assert found['fleet_ledger_lag_seconds{instance="1",job="fleet"}'] == ["0.0", "0.0", "0.0"]


def test_the_series_of_one_name_are_added_up() -> None:
    assert total('a{b="1"} 2.0\na{b="2"} 3.5\na_total 100.0\n', "a") == 5.5


SILENT = series_of([[UP]] * 5 + [[None]] * 6)


def test_what_is_declared_is_held_against_promtool(promtool: None, tmp_path: Path) -> None:
    prove(SILENT, 4, {"FleetNoDispatcher": 8}, tmp_path)


@pytest.mark.parametrize(
    ("last_calm", "due"),
    [
        pytest.param(4, {}, id="an alert fires that was not declared"),
        pytest.param(4, {"FleetNoDispatcher": 6}, id="it fires later than declared"),
        pytest.param(4, {"FleetNoDispatcher": 8, "FleetDeadLetters": 8}, id="one does not fire"),
        pytest.param(9, {"FleetNoDispatcher": 8}, id="it fired before the fault"),
    ],
)
def test_a_declaration_that_does_not_hold_is_refused(
    promtool: None, tmp_path: Path, last_calm: int, due: dict[str, int]
) -> None:
    with pytest.raises(NotAsDeclared, match="FAILED"):
        prove(SILENT, last_calm, due, tmp_path)
