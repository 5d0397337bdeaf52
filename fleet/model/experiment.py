"""An experiment: arms that answer jobs in other ways than the rules say, each for a share of units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fleet.model.unguarded import unguarded

EXPERIMENT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Pattern of the name of an experiment or an arm: one subject token, and one word in the ledger."""

CONTROL: Final = "control"
"""The arm of those who are answered as the rules say."""


class Unit(StrEnum):
    """Whom an arm is drawn for. Who has been drawn once stays in the arm."""

    TENANT = "tenant"
    CONVERSATION = "conversation"
    JOB = "job"


class Stage(StrEnum):
    """The stage of an experiment. One that is stopped or promoted changes no more, but that a promoted one may stop."""

    RUNNING = "running"
    PROMOTED = "promoted"
    STOPPED = "stopped"


class Guardrail(StrEnum):
    """What may not get worse in an arm.

    Answers that fail a gate or do not come, the probability that an answer is good, jobs that escalate, jobs that take
    longer than 95 % of the control's, the price of a job, and verdicts "bad" of users and of comparisons.
    """

    GATE_FAILURES = "gate_failures"
    QUALITY = "quality"
    ESCALATIONS = "escalations"
    LATE = "late"
    PRICE = "price"
    FEEDBACK = "feedback"


TOLERANCES: Final[Mapping[Guardrail, float]] = {
    Guardrail.GATE_FAILURES: 0.0,
    Guardrail.QUALITY: 0.0,
    Guardrail.ESCALATIONS: 0.05,
    Guardrail.LATE: 0.05,
    Guardrail.PRICE: 0.1,
    Guardrail.FEEDBACK: 0.0,
}
"""How much worse an arm may be: shares of jobs, and for the price a share of the control's."""


@unguarded
@dataclass(frozen=True, slots=True)
class Arm:
    """An arm beside the control, for the share of units from 0 to 1.

    `rules` are the parts of a rules document that differ in it, `target` takes the place of the first rung of ladders,
    `prompt` is a system prompt set before the request's own, and `cache` the cache mode of its tasks. `adapter` is the
    digest of a registered version that answers where that adapter's jobs would get another one or none.
    """

    name: str
    share: float
    rules: Mapping[str, Any] | None = None
    target: str | None = None
    prompt: str | None = None
    cache: str | None = None
    adapter: str | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Experiment:
    """One or two arms beside the control, drawn for units among the `tenants` and `tasks` (None: all of them).

    `salt` makes the draw independent of other experiments'. A conversation is what jobs of a tenant have the same value
    of in their metadata's `unit_field`. `tolerances` replaces some of `TOLERANCES`; None turns a guardrail off. An arm
    may be promoted once its quality is at most `margin` below the control's, and it is cheaper. `why` says what ended
    the experiment, `winner` which arm was promoted. Times are unix seconds.
    """

    name: str
    unit: Unit
    arms: tuple[Arm, ...]
    salt: str = ""
    unit_field: str = "conversation"
    tenants: frozenset[str] | None = None
    tasks: frozenset[str] | None = None
    tolerances: Mapping[Guardrail, float | None] = field(default_factory=dict)
    margin: float = 0.02
    stage: Stage = Stage.RUNNING
    winner: str | None = None
    why: str | None = None
    started_at: float = 0.0
    changed_at: float = 0.0

    def tolerance(self, guardrail: Guardrail) -> float | None:
        """Return how much worse an arm may be in this; None where it may be as bad as it likes."""
        return self.tolerances.get(guardrail, TOLERANCES[guardrail])

    def arm(self, name: str) -> Arm | None:
        """Return the arm of this name beside the control."""
        return next((arm for arm in self.arms if arm.name == name), None)


@unguarded
@dataclass(frozen=True, slots=True)
class Assignment:
    """The arm that a job belongs to, whatever becomes of it, and the probability with which it was drawn."""

    experiment: str
    arm: str
    propensity: float
