"""What a gate found: a value with its bounds, on how many answers, and whether the adapter may pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.model.calibration import Calibration


class GateName(StrEnum):
    """The gates, in the order in which they are shown."""

    DATA = "data"
    IMPROVES = "improves"
    PREFERRED = "preferred"
    FACTS = "facts"
    NO_HARM = "no_harm"
    FORMAT = "format"
    REFUSALS = "refusals"
    MEMORISATION = "memorisation"
    SPEED = "speed"
    PROMISE = "promise"


@dataclass(frozen=True, slots=True)
class Finding:
    """A gate's result for a task (None: for the adapter as a whole).

    `value` lies between `low` and `high`, by `n` answers; None where nothing was measured. `missing` says how many more
    questions it takes to decide. One that is not `required` stops nothing: it is of a task that is not served.
    """

    gate: GateName
    passed: bool
    why: str
    task: str | None = None
    n: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    missing: int = 0
    required: bool = True

    def as_json(self) -> dict[str, Any]:
        name = str(self.gate) if self.task is None else f"{self.gate}:{self.task}"
        numbers = {key: _rounded(getattr(self, key)) for key in ("value", "low", "high")}
        return {"name": name, "passed": self.passed, "required": self.required, "n": self.n, **numbers} | {
            "missing": self.missing,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class GateReport:
    """All findings on the adapter of a digest, if it serves these tasks and no others.

    `calibrations` of its answers are as the rules have them; `data` has digests of what it was tried with.
    """

    adapter: str
    serves: frozenset[str]
    findings: Sequence[Finding]
    calibrations: Sequence[Calibration]
    data: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """True if every gate that is required has been looked at and passed."""
        return bool(self.findings) and not self.stopped_by

    @property
    def stopped_by(self) -> Sequence[Finding]:
        return [each for each in self.findings if each.required and not each.passed]

    def as_evidence(self) -> dict[str, Any]:
        """Return the report as a version of an adapter keeps it."""
        return {
            "adapter": self.adapter,
            "serves": sorted(self.serves),
            "passed": self.passed,
            "gates": [each.as_json() for each in self.findings],
            "data": dict(self.data),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
