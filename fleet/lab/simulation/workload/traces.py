"""Recorded runs: one JSON object per line, a result as it is on the wire with the job's lane and plan beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.lab.simulation.workload.trace import RecordedAttempt, RecordedJob
from fleet.model.attempt import Judged
from fleet.model.calibration import Guard, OutputKind
from fleet.model.errors import ConfigError
from fleet.model.job import Lane, Plan
from fleet.validation import rule_of

Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0)]


class _Usage(BaseModel):
    input_tokens: Tokens
    output_tokens: Tokens


class _TracedAssessment(BaseModel):
    threshold: float
    kind: OutputKind
    calibration: str | None = None
    guard: Guard | None = None
    withdrawn: bool = False
    unfamiliar: bool = False


class _TracedAttempt(BaseModel):
    target: str
    started_at: Moment
    ended_at: Moment
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    judged: _TracedAssessment | None = None
    usage: _Usage | None = None

    def value(self) -> RecordedAttempt:
        usage = self.usage or _Usage(input_tokens=0, output_tokens=0)
        judged = None if self.judged is None else Judged(**self.judged.model_dump())
        times = self.started_at, self.ended_at
        return RecordedAttempt(self.target, *times, usage.input_tokens, usage.output_tokens, self.confidence, judged)


class _TracedJob(BaseModel):
    """A line of the file; other keys of a result are ignored."""

    model_config = ConfigDict(extra="ignore")

    id: str
    task: str
    submitted_at: Moment
    finished_at: Moment
    target: str | None = None
    attempts: tuple[_TracedAttempt, ...] = ()
    lane: Lane = Lane.STANDARD
    plan: Plan = Plan.PAID

    def value(self) -> RecordedJob:
        attempts = tuple(attempt.value() for attempt in self.attempts)
        times = self.submitted_at, self.finished_at
        return RecordedJob(self.id, self.task, self.lane, self.plan, *times, self.target, attempts)


def read_trace(path: Path) -> list[RecordedJob]:
    """Read a recorded run. Raises: ConfigError naming file, line and field; OSError if the file cannot be read."""
    jobs = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            jobs.append(_TracedJob.model_validate_json(line).value())
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise ConfigError(f"{path}, line {number}, {field}", rule_of(first)) from None
    if not jobs:
        raise ConfigError(str(path), "must have at least one line")
    return jobs
