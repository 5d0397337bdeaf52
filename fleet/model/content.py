"""The content of a job: what was asked and what was answered, for the tasks whose rule collects it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.model.attempt import Answer, Attempt
from fleet.model.job import ChatRequest
from fleet.model.reason import Reason
from fleet.model.unguarded import unguarded


@unguarded
@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """An answer that a target gave to a job, and who that was.

    `provider` was asked, and `model` is what it says it ran: training on the answer is under their terms. `reason` says
    why the target was asked. `confidence` is the probability that the answer is good, by the version `calibration`;
    without one it is a raw score. `threshold` is what it needed, None where none is enough. `delivered`: it is the
    job's answer, and `message` is left out, as the content has it.
    """

    target: str
    model: str
    reason: Reason
    provider: str | None = None
    confidence: float | None = None
    calibration: str | None = None
    threshold: float | None = None
    delivered: bool = False
    message: Mapping[str, Any] | None = None


@unguarded
@dataclass(frozen=True, slots=True)
class Content:
    """A job's request and the answer that was delivered. `at` is when, in unix seconds.

    `person` is the opaque id of whom it is about, as the job says. `status` is the result's, and `answers` are all that
    were given, oldest first, a comparison's last: contents of earlier versions lack both.
    """

    job_id: str
    tenant: str
    task: str
    at: float
    request: ChatRequest
    message: Mapping[str, Any]
    target: str | None = None
    person: str | None = None
    status: str | None = None
    answers: tuple[GivenAnswer, ...] = ()


def answers_in(attempts: Sequence[Attempt], delivered: Answer) -> tuple[GivenAnswer, ...]:
    """Return the answers of these attempts, second looks left out; the message of the `delivered` one is too."""
    found = ((each, each.outcome) for each in attempts if each.probe is None)
    return tuple(_given(each, answer, delivered) for each, answer in found if isinstance(answer, Answer))


def _given(attempt: Attempt, answer: Answer, delivered: Answer) -> GivenAnswer:
    judged, is_delivered = attempt.judged, answer is delivered
    return GivenAnswer(
        attempt.target,
        answer.model,
        attempt.reason,
        attempt.provider,
        attempt.confidence,
        None if judged is None else judged.calibration,
        None if judged is None or not math.isfinite(judged.threshold) else judged.threshold,
        is_delivered,
        None if is_delivered else answer.message,
    )
