"""Writes a proposed change as an experiment: what differs for one task, as the document of an experiment file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.model.errors import ConfigError
from fleet.model.experiment import Unit
from policies.rules.rules import Rules

CANDIDATE = "candidate"
_STRANGE = re.compile(r"[^a-z0-9_-]+")
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Trial:
    """The size of an experiment: the arm's `share` of units, from 0 to 1."""

    share: float = 0.1
    unit: Unit = Unit.TENANT

    def of(self, name: str, tasks: Sequence[str], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return an experiment of these tasks whose one arm changes the rules."""
        return self.with_arm(name, tasks, {"rules": dict(changes)})

    def with_arm(self, name: str, tasks: Sequence[str], differs: Mapping[str, Any]) -> dict[str, Any]:
        """Return an experiment of these tasks whose one arm differs in this."""
        arm = {"share": self.share, **differs}
        return {"name": name, "unit": str(self.unit), "tasks": list(tasks), "arms": {CANDIDATE: arm}}


def name_of(what: str, day: str) -> str:
    """Return the name of an experiment about `what` that the data up to `day` (2026-03-14) speak for."""
    date = day.replace("-", "")
    start = _STRANGE.sub("-", what.lower()).strip("-_")
    return f"{start[: _LONGEST_NAME - len(date) - 1]}-{date}"


def keep_from(task: str, target: str, threshold: float) -> dict[str, Any]:
    """Return what differs in the rules where answers of the target are kept from this confidence on."""
    rounded = min(1.0, math.ceil(threshold * 1000) / 1000)  # up: nothing is kept that was not tested
    return {"tasks": {task: {"keep_from": {target: rounded}}}}


def ladder_of(task: str, rules: Rules) -> tuple[str, ...]:
    """Return the names of the task's ladder in the phase in force.

    Raises: ConfigError if a ladder for the task alone would change nothing, or it is not clear which is its own.
    """
    phase, known = rules.phases[rules.phase], rules.tasks.get(task)
    if known is None:
        raise ConfigError(f"tasks.{task}", "is not among the tasks of the rules")
    if known.critical:
        raise ConfigError(f"tasks.{task}", f"is critical: its jobs climb phases.{rules.phase}.critical")
    if task in phase.tasks:
        return phase.tasks[task]
    if known.tier is None:
        raise ConfigError(f"tasks.{task}.tier", "must be named: now the complexity of each request chooses its ladder")
    return phase.of_tier(known.tier)


def climbing(task: str, ladder: Sequence[str], rules: Rules) -> dict[str, Any]:
    """Return what differs in the rules where jobs of the task climb this ladder."""
    return {"phases": {rules.phase: {"tasks": {task: list(ladder)}}}}
