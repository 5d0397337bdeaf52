"""The choice of the calibration for an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleet.model.attempt import Answer
from fleet.model.calibration import ANY, Calibration, CalibrationKey, OutputKind
from fleet.model.job import ChatRequest
from fleet.model.target import Target
from policies.confidence.familiarity import knows_task
from policies.confidence.gates import asks_for_json

TOKEN_TOKENS = 3
"""Maximum tokens of kind TOKEN: a label, a letter or a number, with the token that ends it."""

SHORT_TOKENS = 32


def kind_of(answer: Answer, request: ChatRequest) -> OutputKind:
    """Return the kind of an answer, by what was asked for and by how many tokens it took."""
    if answer.message.get("tool_calls"):
        return OutputKind.TOOL_CALL
    if asks_for_json(request):
        return OutputKind.JSON
    if answer.usage.answer_tokens <= TOKEN_TOKENS:
        return OutputKind.TOKEN
    return OutputKind.SHORT if answer.usage.answer_tokens <= SHORT_TOKENS else OutputKind.LONG


def fallbacks(target: str, task: str, kind: str, adapter: str = "") -> Iterator[CalibrationKey]:
    """Yield keys from the most to the least specific; `classify.intent` belongs to the family `classify.*`.

    All are of one adapter, or of none: it is another model, of which a calibration of the base says nothing.
    """
    family = task.partition(".")[0] + ".*"
    yield CalibrationKey(target, task, kind, adapter)
    yield CalibrationKey(target, family, kind, adapter)
    yield CalibrationKey(target, ANY, kind, adapter)
    yield CalibrationKey(target, ANY, ANY, adapter)


def calibration_for(
    target: Target,
    task: str,
    kind: OutputKind,
    calibrations: Mapping[CalibrationKey, Calibration],
    adapter: str | None = None,
) -> Calibration | None:
    """Return the most specific calibration that fits and knows the task, or else the most specific that fits.

    So a narrower one put in force beside a wider one takes no task away from it. None: there is no calibration for this
    model as it is deployed now, with this adapter.
    """
    if not calibrations:
        return None
    first = None
    for key in fallbacks(target.name, task, kind, adapter or ""):
        found = calibrations.get(key)
        if found is None or not is_of(found, target):
            continue
        if knows_task(found, task):
            return found
        first = first or found
    return first


def is_of(calibration: Calibration, target: Target) -> bool:
    """Return whether the calibration is of this model, of these weights, and of this kind of log-probabilities."""
    return (
        calibration.model == target.model
        and calibration.revision == target.revision
        and calibration.logprobs_mode == target.logprobs_mode
    )
