"""A command that runs noisy parts keeps the terminal for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from fleet.cli.output import friendly, quiet
from fleet.model.errors import BackendUnavailable

def noisy(as_json, fails):
    with quiet(as_json, Path(sys.argv[1])) as output:
        print("noise of python")
        os.system("echo noise of a child; echo noise on stderr >&2")
        output.say("for people")
        output.object({"for": "programs"})
        if fails:
            raise BackendUnavailable("it broke")

with friendly(False):
    noisy(as_json=sys.argv[2] == "json", fails=sys.argv[2] == "fails")
print("afterwards")
"""


def run(tmp_path: Path, mode: str) -> tuple[str, str, str]:
    """What reached stdout, stderr and the log."""
    log = tmp_path / "logs" / "fleet.log"
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(log), mode], capture_output=True, text=True)
    return done.stdout, done.stderr, log.read_text()


def test_only_the_command_speaks_and_the_noise_is_kept_in_the_log(tmp_path: Path) -> None:
    stdout, stderr, log = run(tmp_path, "people")
    assert (stdout, stderr) == ("for people\nafterwards\n", "")
    assert sorted(log.splitlines()) == ["noise of a child", "noise of python", "noise on stderr"]


def test_in_json_mode_stdout_is_the_object_alone(tmp_path: Path) -> None:
    stdout, _, _ = run(tmp_path, "json")
    assert stdout == '{"for": "programs"}\nafterwards\n'


def test_a_model_that_does_not_start_names_the_log(tmp_path: Path) -> None:
    _, stderr, _ = run(tmp_path, "fails")
    log = tmp_path / "logs" / "fleet.log"
    assert stderr.splitlines()[0] == f"fleet: a model cannot be reached: it broke (details in {log})"


def test_the_warnings_of_libraries_stay_out_of_an_error() -> None:
    """The NATS client warns at every refused connection."""
    command = [sys.executable, "-m", "fleet.cli", "result", "some-job-id-000001", "--nats-url", "nats://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "nothing listens at nats://127.0.0.1:9" in done.stderr
