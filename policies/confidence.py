"""How far an answer can be trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fleet.model.attempt import Answer, Features
from fleet.model.job import ChatRequest, Job
from fleet.model.target import Target
from policies.rules import Rules
from policies.sections import ConfidenceMethod


def assess(answer: Answer, job: Job, target: Target, rules: Rules) -> float | None:
    """The confidence of an answer in [0, 1]; None where there is no way to tell (no log-probabilities).

    0.0 whatever the model thinks of it when the answer cannot be used: cut off, empty, or not the
    JSON that was asked for. Else the raw score of `rules.confidence.method`. A raw score ranks answers
    of one model on one task family; it is no calibrated probability.
    """
    if not is_usable(answer, job.request):
        return 0.0
    if answer.features is None:
        return None
    return _raw_score(answer.features, rules.confidence.method)


def is_usable(answer: Answer, request: ChatRequest) -> bool:
    """Whether the answer is complete, says something, and is JSON where the request asks for it."""
    if answer.finish_reason == "length":
        return False
    if answer.message.get("tool_calls"):
        return True
    content = answer.message.get("content")
    return bool(content) and (not _asks_for_json(request) or _is_json(content))


def _asks_for_json(request: ChatRequest) -> bool:
    wanted = request.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema")


def _is_json(content: Any) -> bool:
    try:
        json.loads(content)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _raw_score(features: Features, method: ConfidenceMethod) -> float:
    """A probability from natural log-probabilities: of the worst token, the average one, or all of them together."""
    match method:
        case ConfidenceMethod.MIN_PROBABILITY:
            logprob = features.min
        case ConfidenceMethod.MEAN_PROBABILITY:
            logprob = features.mean
        case ConfidenceMethod.SEQUENCE_PROBABILITY:
            logprob = features.sum
    # An engine may report a hair above 0 for a certain token. What is no number at all proves nothing.
    return 0.0 if math.isnan(logprob) else math.exp(min(logprob, 0.0))
