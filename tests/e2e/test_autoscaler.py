"""Jobs bring replicas, replicas bring machines, and all of them go again: `benchmarks.autoscaler`, run once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

MACHINES = 3

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def story():
    """What was seen. In a process of its own: its Ray has nothing to do with that of the other tests."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.autoscaler", "--json"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told, errors = process.communicate()  # every step has a limit of its own, and says what did not happen
    finally:
        process.terminate()  # where it still runs, it stops what it started
        process.wait(PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    return json.loads(told)


def _first(rows, name):
    """The first row in which there is any of it."""
    return next(index for index, row in enumerate(rows) if row[name])


def _first_without(rows, name):
    return next(index for index, row in enumerate(rows) if not row[name])


def _row_of(rows, event):
    return next(index for index, row in enumerate(rows) if row["event"] == event)


@pytest.mark.proves("A backlog brings replicas, and replicas bring machines", how="fake nodes")
def test_a_backlog_brings_replicas_and_replicas_bring_machines(story):
    rows = story["rows"]
    assert (rows[0]["wanted"], rows[0]["running"], rows[0]["machines"]) == (0, 0, 0)
    assert _first(rows, "wanted") <= _first(rows, "machines") <= _first(rows, "running")
    assert max(row["wanted"] for row in rows) == MACHINES
    assert max(row["running"] for row in rows) == MACHINES
    assert max(row["machines"] for row in rows) == MACHINES


def test_the_fleets_own_rules_decided(story):
    reasons = story["reasons"]
    assert reasons.index("first_work") < reasons.index("idle")


@pytest.mark.proves("A machine that dies in the middle of its work is replaced", how="fake nodes")
def test_a_machine_that_dies_in_the_middle_is_replaced(story):
    rows = story["rows"]
    assert _row_of(rows, "a machine dies") < _row_of(rows, "replaced; no more jobs come in")
    assert 0 < story["answered_before_the_kill"] < story["jobs"]
    assert story["killed"] in story["machines_seen"]
    assert len(story["machines_seen"]) > MACHINES  # never more at a time, so one of them is new


@pytest.mark.proves("A machine that dies costs no job and doubles none", how="fake nodes")
def test_every_job_has_exactly_one_result_in_spite_of_it(story):
    assert story["jobs_answered"] == story["answers"] == story["stored"] == story["jobs"]
    assert story["statuses"] == {"succeeded": story["jobs"]}
    assert story["left"] == 0


@pytest.mark.proves("Without work the replicas go, and then their machines", how="fake nodes")
def test_without_work_the_replicas_go_and_then_the_machines(story):
    ended = _row_of(story["rows"], "every job has its result")
    after = story["rows"][ended:]
    assert _first_without(after, "wanted") <= _first_without(after, "running") <= _first_without(after, "machines")
    assert (after[-1]["wanted"], after[-1]["running"], after[-1]["machines"]) == (0, 0, 0)
