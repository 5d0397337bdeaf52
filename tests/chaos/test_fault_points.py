"""Fault points do nothing until armed, and then exactly what was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet import faults
from fleet.model.errors import ConfigError

POINT = "runner.published"


@pytest.fixture(autouse=True)
def disarmed():
    yield
    faults.arm("")


def test_a_point_that_is_not_armed_is_a_function_that_does_nothing():
    assert faults.point is faults._nothing
    assert faults.point(POINT) is False


def test_a_fault_strikes_at_its_passage_and_at_no_other():
    faults.arm(f"{POINT}=drop@3")
    assert [faults.point(POINT) for _ in range(5)] == [False, False, True, False, False]
    assert faults.point("runner.acked") is False


def test_the_same_seed_draws_the_same_passages():
    def passages(seed: int) -> list[bool]:
        faults.arm(f"{POINT}=drop@p0.3; seed={seed}")
        return [faults.point(POINT) for _ in range(50)]

    assert passages(7) == passages(7) != passages(8)
    assert 0 < sum(passages(7)) < 50


def test_an_error_is_a_broker_that_does_not_answer():
    faults.arm("intake.taken=error@1")
    with pytest.raises(faults.QueueUnavailable, match=r"intake\.taken"):
        faults.point("intake.taken")


def test_a_delay_stops_the_whole_process(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    faults.arm("intake.taken=delay:0.25@1")
    faults.point("intake.taken")
    assert slept == [0.25]


def test_another_process_may_be_killed_at_a_point(monkeypatch):
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    faults.arm("intake.taken=kill:4711@1")
    faults.point("intake.taken")
    assert killed == [(4711, signal.SIGKILL)]


def test_a_child_process_can_be_told_where_to_die():
    program = "from fleet import faults\nfor n in range(3): faults.point('intake.taken'); print(n, flush=True)"
    environment = os.environ | {faults.VARIABLE: "intake.taken=kill@2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"0\n")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("no.such.point=kill@1", "no fault point"),
        (f"{POINT}=explode@1", "kill"),
        (f"{POINT}=kill", "@<n"),
        (f"{POINT}=kill@often", "must be a number"),
        ("runner.taken=drop@1", "nothing can be dropped"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_the_rule(text, rule):
    with pytest.raises(ConfigError, match=rule):
        faults.arm(text)


def test_every_point_has_its_place_in_the_code():
    sources = [path for room in ("fleet", "queues") for path in Path(room).rglob("*.py") if path.name != "faults.py"]
    code = "\n".join(path.read_text() for path in sources)
    # A charged target's points are those of any target with "_paid" behind.
    missing = {name for name in faults.POINTS if f'"{name}"' not in code and name.removesuffix("_paid") not in code}
    assert missing == set()
