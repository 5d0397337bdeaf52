"""What the steps of a turn work with, and what comes of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.model.errors import FleetError
from fleet.model.turn import Turn

if TYPE_CHECKING:
    from fleet.ports import AdapterStore, CalibrationStore, ExperimentStore, TurnStore
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules


@dataclass(frozen=True, slots=True)
class Found:
    """A step is done, and found this."""

    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Against:
    """Something speaks against the turn, so it stops."""

    why: str


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing can be done yet."""

    why: str


StepOutcome = Found | Against | Later


@dataclass(frozen=True, slots=True)
class Recipe:
    """How adapters are trained: see `fleet adapters train`."""

    rank: int = 64
    rate: float = 2e-3
    steps: int = 1200


@dataclass(frozen=True, slots=True)
class Done:
    """A command's exit code, the JSON object it printed, and the error in it."""

    code: int
    printed: Mapping[str, Any]
    said: str


Command = Callable[[Sequence[str]], Done]


@dataclass(frozen=True, slots=True)
class Stores:
    turns: TurnStore
    experiments: ExperimentStore
    adapters: AdapterStore
    calibrations: CalibrationStore


@dataclass(frozen=True, slots=True)
class Loop:
    """The parts of the loop. `run` runs a command of the fleet, in a process of its own.

    `share` is the share of jobs in a roll-out, `weeks` how long one may last, and `say` tells whoever waits.
    """

    stores: Stores
    rules: Rules
    folder: Path
    recipe: Recipe
    run: Command
    now: Callable[[], float]
    say: Callable[[str], None]
    share: float = 0.1
    weeks: float = 4.0

    def place(self, turn: Turn) -> Path:
        """Return the folder of a turn's files."""
        return self.folder / turn.name


class CommandFailed(FleetError):
    """A command of a step failed; the step is done again by the next run."""


def commands_of(settings: Settings) -> Command:
    """Return what runs commands of the fleet with these settings."""
    content = {} if settings.content_url is None else {"FLEET_CONTENT_URL": settings.content_url}
    return partial(_run, {**os.environ, "FLEET_NATS_URL": settings.nats_url or "", **content})


def _run(environment: Mapping[str, str], words: Sequence[str]) -> Done:
    """Run a command with `--json`; its progress is seen by whoever waits.

    The memory of a training or an engine is given back with its process, and a kill leaves what it has saved.
    """
    command = [sys.executable, "-m", "fleet.cli", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        printed = json.loads(done.stdout or "{}")
    except ValueError:
        raise CommandFailed(f"fleet {' '.join(words[:2])} printed no JSON (exit {done.returncode})") from None
    return Done(done.returncode, printed, str(printed.get("error") or f"exit {done.returncode}"))
