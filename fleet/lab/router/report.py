"""The findings of an evaluation of a router, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from fleet.lab.evaluation.drawing import Drawing
from fleet.lab.evaluation.report import Interval, PolicyRow


@dataclass(frozen=True, slots=True)
class RouterReport:
    """Means over `seeds` trainings on `train` labels each, judged on `n` prompts each that were not trained on.

    An interval is the mean over seeds of each test set's 95 % bootstrap interval, so it says how far to trust one
    training, not the mean; `apgr_sd` is the standard deviation over seeds. A prompt out of distribution gets no
    verdict: it is ordered as if nothing were known about it; `apgr_if_used` is the APGR without that caution.
    AUROC, Brier score and ECE are those of P(the small model suffices): weak is at least as good as strong.
    `table_apgr` is the order by the mean gain of each prompt's task, None where the file names no tasks.
    `kept_wrong` and the quality of rows are at half the prompts sent to the strong target.

    `out_of_distribution` is the share of such prompts. `refused` is set where it is too high for the router to be
    used, or where the data support no statement; then APGR and CPT are null, and `reason` says why. `switch_on` is the
    verdict of the rule for switching on about the first training, unless refused; `switch_on_share` is the share of
    trainings it would switch on.
    """

    file: str
    ask: str | None
    with_answer: bool
    train: int
    seeds: int
    n: int
    weak: float
    strong: float
    oracle: float
    apgr: float | None
    apgr_ci: Interval | None
    apgr_sd: float | None
    apgr_if_used: float | None
    length_apgr: float | None
    length_apgr_ci: Interval | None
    length_apgr_sd: float | None
    table_apgr: float | None
    cpt50: float | None
    cpt80: float | None
    cpt95: float | None
    auroc: float | None
    brier: float
    brier_constant: float
    ece: float
    ece_floor: float
    kept_wrong: float
    escalation_rate: float
    violation_rate: float | None
    out_of_distribution: float
    refused: bool
    reason: str
    switch_on: bool
    switch_on_reason: str
    switch_on_share: float
    rows: tuple[PolicyRow, ...]
    drawing: Drawing = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """Return all of it but the drawing, ready for `json.dumps`."""
        return {name: value for name, value in asdict(self).items() if name != "drawing"}
