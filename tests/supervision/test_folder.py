"""A data folder belongs to one fleet at a time, and what a killed one has left there is ended first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS
from running_processes import is_running

from fleet.model.errors import FleetError
from fleet.supervision.folder import LOCK_FILE, held

KILLED = """
import os, signal, subprocess, sys
from pathlib import Path
from fleet.supervision.folder import held

with held(Path(sys.argv[1]), print) as lock:
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    part = subprocess.Popen(["sleep", "600"], pass_fds=[lock], start_new_session=True, **silent)
    print(os.getpid(), part.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A fleet that is killed while one of its parts lives on."""


def nobody(line: str) -> None:
    raise AssertionError(line)


def test_a_second_fleet_in_the_folder_is_told_of_the_first(tmp_path: Path) -> None:
    with held(tmp_path / "data", nobody), pytest.raises(FleetError) as raised, held(tmp_path / "data", nobody):
        pass
    own = os.getpid()
    assert str(raised.value) == (
        f"a fleet runs here already (pid {own}), folder {tmp_path}/data: use it, or stop it with `kill {own}`, "
        "or start this one with another FLEET_DATA_DIR"
    )


def test_a_folder_that_was_given_back_is_free(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path, nobody):
            assert (tmp_path / LOCK_FILE).read_text() == str(os.getpid())


@pytest.mark.proves(
    "The next `fleet up` ends what a killed one has left on its store, and takes it over",
    how="real",
    subject="One machine",
)
def test_what_a_killed_fleet_has_left_is_named_and_ended_before_the_next_begins(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    fleet, part = map(int, killed.stdout.split())
    assert is_running(part)
    told: list[str] = []
    with held(tmp_path, told.append):
        assert not is_running(part)
    assert told == [f"ending what a fleet (pid {fleet}) that was killed left in {tmp_path}: sleep (pid {part})"]
