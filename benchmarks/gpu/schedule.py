"""Runs the parts one after the other within a budget; one that fails or is late costs the others nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.gpu.parts import PARTS, SPAWNED, Figures, Options

LEAST_SECONDS: Final = 20.0
"""A part is not begun with less than this left."""

GRACE_SECONDS: Final = 10.0
"""Seconds in which a part that is late may give the card back before it is killed."""

RunPart = Callable[[str, Options, float], Figures]
"""Runs a part by name within so many seconds. Raises `PartError` with the line to show."""


class PartError(Exception):
    """A part gave no figures; its text is one line."""


@dataclass(slots=True)
class Found:
    """Holds what a run found: figures, seconds by part, and a line for each thing that it could not do."""

    figures: Figures = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    not_done: list[str] = field(default_factory=list)


def run(
    options: Options,
    names: Sequence[str],
    budget_seconds: float,
    run_part: RunPart,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Run the parts in order and return what they found, the ratios between them included."""
    found, begun = Found(), clock()
    for name in names:
        left = begun + budget_seconds - clock()
        if left < LEAST_SECONDS:
            found.not_done.append(f"{name}: skipped; {max(0.0, left):.0f} s of {budget_seconds:.0f} were left")
            continue
        started = clock()
        try:
            found.figures |= run_part(name, options, min(left, PARTS[name].share * budget_seconds))
        except PartError as error:
            found.not_done.append(f"{name}: {error}")
        found.seconds[name] = clock() - started
    found.figures |= _ratios(found.figures)
    found.not_done += _blanks(found.figures)
    return found


def _ratios(figures: Mapping[str, float | None]) -> Figures:
    """Return the share of vLLM's own speed that the fleet's call keeps, with and without confidence."""
    ratios: Figures = {}
    for kind in ("", "plain_"):
        ours, ceiling = figures.get(f"served_{kind}jobs_per_second"), figures.get(f"offline_{kind}jobs_per_second")
        if ours is not None and ceiling:
            ratios[f"served_{kind}ratio"] = ours / ceiling
    return ratios


def _blanks(figures: Mapping[str, float | None]) -> list[str]:
    return [
        f"{name}: the engine did not tell, or there is nothing to compare with"
        for name in figures
        if figures[name] is None
    ]


def in_own_process(name: str, options: Options, seconds: float, module: str = "benchmarks.gpu") -> Figures:
    """Run a part in a fresh process group, which is ended when its time is over; what it had found by then counts."""
    into, log = (Path(options.folder) / f"{name}.{ending}" for ending in ("json", "log"))
    into.unlink(missing_ok=True)
    command = [sys.executable, "-m", module, "--part", name, "--options", json.dumps(asdict(options))]
    with log.open("w") as written:
        process = subprocess.Popen(
            [*command, "--out", str(into)],
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, SPAWNED: str(time.time())},
        )
        status = _status(process, seconds)
    if into.exists():
        figures: Figures = json.loads(into.read_text())
        return figures
    if status is None:
        raise PartError(f"stopped after its {seconds:.0f} s; see {log}")
    raise PartError(f"{_last_line(log)} (see {log})")


def _status(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit status, None where the time was over first. Nothing of the process group is left."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        return None
    finally:
        _signal(process, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _last_line(log: Path) -> str:
    """Return the last line that names an error, or the last one."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.partition(":")[0]]
    return (named or lines or ["it wrote nothing"])[-1][:300]
