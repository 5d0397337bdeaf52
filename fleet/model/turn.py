"""A turn of the learning loop: a target is taught one task of some tenants, step by step, each on record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fleet.model.unguarded import unguarded

TURN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Pattern of a turn's name, which is also that of its experiment and of its adapter: one subject token."""


class TurnStep(StrEnum):
    """The steps of a turn, in their order.

    COLLECTED counts what there is to learn, EXPORTED and TRAINED leave files, REGISTERED puts the adapter on trial,
    TRIED says what its gates found, RECALIBRATED how far its answers can be trusted. ROLLED_OUT gives it a share of
    the jobs, PROMOTED all of them.
    """

    COLLECTED = "collected"
    EXPORTED = "exported"
    TRAINED = "trained"
    REGISTERED = "registered"
    TRIED = "tried"
    RECALIBRATED = "recalibrated"
    ROLLED_OUT = "rolled_out"
    PROMOTED = "promoted"


class TurnStage(StrEnum):
    """The stage of a turn. STOPPED: something spoke against it; UNDONE: somebody took it back."""

    RUNNING = "running"
    PROMOTED = "promoted"
    STOPPED = "stopped"
    UNDONE = "undone"


@unguarded
@dataclass(frozen=True, slots=True)
class DoneStep:
    """A step that was done at `at` (unix seconds). `evidence` has what it found: counts, digests, gates, dollars."""

    step: TurnStep
    at: float
    evidence: Mapping[str, Any] = field(default_factory=dict)


@unguarded
@dataclass(frozen=True, slots=True)
class Turn:
    """A turn: `target` is taught `task` for jobs of `tenants`. `why` says what ended it. Times are unix seconds."""

    name: str
    target: str
    task: str
    tenants: frozenset[str]
    done: tuple[DoneStep, ...] = ()
    stage: TurnStage = TurnStage.RUNNING
    why: str | None = None
    changed_at: float = 0.0

    def of(self, step: TurnStep) -> DoneStep | None:
        """Return the step as it was done; None if it was not."""
        return next((each for each in self.done if each.step is step), None)
