"""An attempt as JSON: RESULTS and LEDGER tell of it, WORK carries it whole.

Both hold the same record of what was tried. They differ in the outcome: readers outside learn neither what was said
nor when to retry, so that no prompt and no answer gets into the accounts.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import ConfigDict, Field, create_model
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Judged, Outcome, Usage
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.reason import Reason
from queues.wire.record import Count, Fields, Written, writer


class UsageRecord(Written):
    """Tokens. Those read from a provider's cache and written to it are part of the input, those thought of the output.

    These three are there where they are more than 0.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class FailureRecord(Written):
    kind: FailureKind
    detail: str


class FeaturesRecord(Written):
    """Statistics of the log-probabilities (natural) of an answer's tokens; null where an engine gave no number."""

    sum: float | None
    mean: float | None
    min: float | None
    q10: float | None
    q25: float | None
    count: int
    margin: float | None
    entropy: float | None


class JudgedRecord(Written):
    """The standard an answer's confidence was held against; `threshold` null is one that no answer reaches.

    `calibration` is the version that gave both, null for an uncalibrated score; `guard` says why the cascade is off,
    `withdrawn` that a promise was taken back, `probe` which second look was wanted. `unfamiliar` is there, and true,
    where no calibration has seen such a task or text, so that the confidence is no probability.
    """

    threshold: float | None
    kind: OutputKind
    calibration: str | None
    guard: Guard | None
    withdrawn: bool
    probe: Probe | None
    unfamiliar: bool = False


class AttemptRecord(Written):
    """A try on one target: with `finish_reason`, `model` and `usage`, or with `failure`. Times are unix seconds.

    With a `probe` it was only a second look at the answer before it, whose confidence it then brings up to date.
    `repeated`: a paid call that was begun before and not finished; the one before may have been charged as well.
    `region` is where the target processes content, null where nobody has stated it.
    """

    number: int
    target: str
    reason: Reason
    started_at: float
    ended_at: float
    confidence: float | None
    cost_usd: float
    model: str | None = None
    finish_reason: str | None = None
    usage: UsageRecord | None = None
    failure: FailureRecord | None = None
    features: FeaturesRecord | None = None
    judged: JudgedRecord | None = None
    probe: Probe | None = None
    repeated: bool = False
    region: str | None = None


class MessageRecord(TypedDict, total=False):
    """An assistant's message: fields not named here are carried on, for a model may have more to say."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # where pydantic looks for it
    content: str | None


Number = Annotated[float, Field(allow_inf_nan=True)]
"""A log-probability as an engine gives it."""


class CarriedOutcome(Written):
    """An outcome as WORK carries it; no names, for a job may have many attempts."""

    answer: (
        tuple[
            MessageRecord,
            str,
            Count,
            Count,
            str,
            tuple[Number, Number, Number, Number, Number, int, Number, Number] | None,
        ]
        | None
    ) = None
    details: tuple[Count, Count, Count] | None = None
    """The answer's tokens read from a cache, written to it, and thought; None where all are 0."""
    failure: tuple[FailureKind, str, float | None] | None = None


OUTCOME = frozenset({"model", "finish_reason", "usage", "failure", "features"})
"""Fields of the record that hold the outcome of an attempt."""

_TRIED = {name: field for name, field in AttemptRecord.model_fields.items() if name not in OUTCOME}

CarriedAttempt = create_model(
    "CarriedAttempt",
    __base__=CarriedOutcome,
    **{name: (field.annotation, field) for name, field in _TRIED.items()},  # type: ignore[call-overload]
)

_write_tried = writer(Attempt, AttemptRecord, apart=("outcome",))
_write_judged = writer(Judged, JudgedRecord)
_write_features = writer(Features, FeaturesRecord)
_write_usage = writer(Usage, UsageRecord)
_write_failure = writer(Failure, FailureRecord, apart=("retry_after_seconds", "headroom"))


def attempt_record(attempt: Attempt) -> Fields:
    """Return what readers of results and of the ledger learn of an attempt."""
    record = _tried_record(attempt)
    match attempt.outcome:
        case Answer(_, finish_reason, usage, model, features):
            record.update(model=model, finish_reason=finish_reason, usage=usage_record(usage))
            record["features"] = features_record(features)
        case Failure() as failure:
            record["failure"] = _write_failure(failure)
    return record


def carried_attempt_record(attempt: Attempt) -> Fields:
    """Return the whole attempt but the headroom, which went to the dispatcher that made the call."""
    record = _tried_record(attempt)
    match attempt.outcome:
        case Answer(message, finish_reason, usage, model, features):
            numbers = None if features is None else list(_write_features(features).values())
            record["answer"] = (message, finish_reason, usage.input_tokens, usage.output_tokens, model, numbers)
            details = (usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
            if any(details):
                record["details"] = details
        case Failure(kind, detail, retry_after_seconds):
            record["failure"] = (str(kind), detail, retry_after_seconds)
    return record


def _tried_record(attempt: Attempt) -> Fields:
    record = _write_tried(attempt)
    record["judged"] = judged_record(attempt.judged)
    return record


def judged_record(judged: Judged | None) -> Fields | None:
    """Return the record; an infinite threshold, which no answer reaches, is written as null."""
    if judged is None:
        return None
    record = _write_judged(judged)
    if not math.isfinite(judged.threshold):
        record["threshold"] = None
    if not judged.unfamiliar:
        del record["unfamiliar"]
    return record


def features_record(features: Features | None) -> Fields | None:
    return None if features is None else _write_features(features)


def usage_record(usage: Usage) -> Fields:
    record = _write_usage(usage)
    for name in ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens"):
        if not record[name]:
            del record[name]
    return record


def read_attempt(record: AttemptRecord) -> Attempt:
    """Return the attempt without its message and its retry hint. Raises: ValueError if it had no outcome."""
    outcome: Outcome
    if record.failure is not None:
        outcome = Failure(record.failure.kind, record.failure.detail)
    elif record.usage is None:
        raise ValueError(f"attempt {record.number}: usage is required without a failure")
    else:
        usage, features = read_usage(record.usage), _features(record.features)
        outcome = Answer({}, record.finish_reason or "", usage, record.model or "", features)
    return _attempt(vars(record), outcome)


def counted(attempts: list[CarriedOutcome]) -> list[CarriedOutcome]:
    """Return the attempts of one job. Raises: ValueError unless they are counted from 1 and each has an outcome."""
    for number, attempt in enumerate(attempts, 1):
        if vars(attempt)["number"] != number:
            raise ValueError("must be counted from 1")
        if attempt.answer is None and attempt.failure is None:
            raise ValueError("must each have an answer or a failure")
    return attempts


def read_carried_attempt(record: CarriedOutcome) -> Attempt:
    outcome: Outcome
    if record.answer is not None:
        message, finish_reason, input_tokens, output_tokens, model, numbers = record.answer
        features = None if numbers is None else Features(*numbers)
        usage = Usage(input_tokens, output_tokens, *(record.details or ()))
        outcome = Answer(message, finish_reason, usage, model, features)
    else:
        assert record.failure is not None, "`counted` has seen that there is an outcome"
        outcome = Failure(*record.failure)
    return _attempt(vars(record), outcome)


def _attempt(record: Fields, outcome: Outcome) -> Attempt:
    tried = {name: record[name] for name in _TRIED}
    tried["judged"] = _judged(tried["judged"])
    return Attempt(outcome=outcome, **tried)


def read_usage(record: UsageRecord) -> Usage:
    return Usage(**vars(record))


def _judged(record: JudgedRecord | None) -> Judged | None:
    if record is None:
        return None
    held = vars(record)
    if record.threshold is None:
        held["threshold"] = math.inf
    return Judged(**held)


def _features(record: FeaturesRecord | None) -> Features | None:
    """Read features; a null stands for what was no number, and reads as NaN."""
    if record is None:
        return None
    numbers = vars(record)
    if None in numbers.values():
        numbers = {name: math.nan if value is None else value for name, value in numbers.items()}
    return Features(**numbers)
