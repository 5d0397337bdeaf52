"""An attempt as JSON: RESULTS and LEDGER tell of it, WORK carries it whole.

All hold the same record of what was tried. They differ in the outcome: readers outside learn neither what was said
nor when to retry, so that no prompt and no answer gets into the accounts. LEDGER also says how the job got there and
what the engine measured: a job's trace is made of its lines.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated

from pydantic import ConfigDict, Field, create_model
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from fleet.model.attempt import (
    Answer,
    Attempt,
    Cached,
    EngineTimes,
    Failure,
    FailureKind,
    Features,
    Hop,
    Judged,
    Outcome,
    Usage,
)
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.reason import Reason
from queues.wire.diet import DietRecord, diet_record, read_diet
from queues.wire.near import NearRecord, near_record, read_near
from queues.wire.record import Count, Fields, Written, writer
from queues.wire.usage import UsageRecord, carried_details, read_usage, usage_record


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


class CachedRecord(Written):
    """Where an answer from the cache comes from: the job it was given to before, by which target, when (unix seconds).

    `usage` is what it took then.
    """

    job_id: str
    target: str
    answered_at: float
    usage: UsageRecord


class AttemptRecord(Written):
    """A try on one target: with `finish_reason`, `model` and `usage`, or with `failure`. Times are unix seconds.

    With a `probe` it was only a second look at the answer before it, whose confidence it then brings up to date.
    `repeated`: a paid call that was begun before and not finished; the one before may have been charged as well.
    `region` is where the target processes content, null where nobody has stated it. `cached` is there where the answer
    is that of another job, `avoided` where it is written down: an estimate of what a model would have taken. `diet` is
    there where the call left something out of its job's request, `adapter` (a digest) where the model answered with
    one.
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
    cached: CachedRecord | None = None
    avoided: UsageRecord | None = None
    diet: DietRecord | None = None
    adapter: str | None = None


class HopRecord(Written):
    """The way of a message to a dispatcher: when the broker stored it, and when it was taken, as which delivery.

    `batch` names the micro-batch of `batch_size` jobs in which it ran; they are there where it ran.
    """

    stored_at: float
    taken_at: float
    deliveries: int
    batch: str | None = None
    batch_size: int = 0


class EngineTimesRecord(Written):
    """The times of a request inside one of the fleet's own engines, as that measured them.

    `arrived_at` is unix seconds; the first token came `first_token_seconds` later, the last of which were the wait for
    a turn (`queue_seconds`) and the reading of the prompt (`prefill_seconds`). `decode_seconds` made the other tokens.
    """

    arrived_at: float
    first_token_seconds: float
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float


class LedgerAttemptRecord(AttemptRecord):
    """An attempt as the ledger has it: also who was asked for which model, the way there, and the engine's times.

    `near` is what the semantic cache had nearest. Each of the five is there where it is known.
    """

    provider: str | None = None
    requested_model: str | None = None
    hop: HopRecord | None = None
    engine: EngineTimesRecord | None = None
    near: NearRecord | None = None


class MessageRecord(TypedDict, total=False):
    """An assistant's message: fields not named here are carried on, for a model may have more to say."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # where pydantic looks for it
    content: str | None


Number = Annotated[float, Field(allow_inf_nan=True)]
"""A log-probability as an engine gives it."""


CarriedHop = tuple[float, float, Count, str | None, Count]
"""A `Hop` as WORK carries it."""


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
    details: tuple[Count, Count, Count] | tuple[Count, Count, Count, Count] | None = None
    """The answer's tokens read from a cache, written to it, thought, and written for an hour; None where all are 0."""
    engine: tuple[float, float, float, float, float] | None = None
    """The answer's `EngineTimes`."""
    failure: tuple[FailureKind, str, float | None] | None = None
    hop: CarriedHop | None = None


OUTCOME = frozenset({"model", "finish_reason", "usage", "failure", "features", "engine"})
"""Fields of the record that hold the outcome of an attempt."""

_TRIED = {name: field for name, field in LedgerAttemptRecord.model_fields.items() if name not in {*OUTCOME, "hop"}}

CarriedAttempt = create_model(
    "CarriedAttempt",
    __base__=CarriedOutcome,
    **{name: (field.annotation, field) for name, field in _TRIED.items()},  # type: ignore[call-overload]
)

_write_tried = writer(
    Attempt,
    AttemptRecord,
    apart=("outcome", "provider", "requested_model", "hop", "cached", "avoided", "diet", "near", "adapter"),
)
_write_cached = writer(Cached, CachedRecord, apart=("usage",))
_write_hop = writer(Hop, HopRecord)
_write_engine = writer(EngineTimes, EngineTimesRecord)
_write_judged = writer(Judged, JudgedRecord)
_write_features = writer(Features, FeaturesRecord)
_write_failure = writer(Failure, FailureRecord, apart=("retry_after_seconds", "headroom"))


def attempt_record(attempt: Attempt) -> Fields:
    """Return what readers of results learn of an attempt."""
    record = _tried_record(attempt)
    match attempt.outcome:
        case Answer(_, finish_reason, usage, model, features):
            record.update(model=model, finish_reason=finish_reason, usage=usage_record(usage))
            record["features"] = features_record(features)
        case Failure() as failure:
            record["failure"] = _write_failure(failure)
    return record


def ledger_attempt_record(attempt: Attempt) -> Fields:
    """Return what readers of the ledger learn of an attempt."""
    record = attempt_record(attempt)
    _add_details(record, attempt)
    if attempt.hop is not None:
        record["hop"] = hop_record(attempt.hop)
    if isinstance(attempt.outcome, Answer) and attempt.outcome.engine is not None:
        record["engine"] = _write_engine(attempt.outcome.engine)
    return record


def hop_record(hop: Hop) -> Fields:
    record = _write_hop(hop)
    if hop.batch is None:
        del record["batch"], record["batch_size"]
    return record


def carried_hop(hop: Hop) -> list[float | str | None]:
    return list(_write_hop(hop).values())


def carried_attempt_record(attempt: Attempt) -> Fields:
    """Return the whole attempt but the headroom, which went to the dispatcher that made the call."""
    record = _tried_record(attempt)
    _add_details(record, attempt)
    if attempt.hop is not None:
        record["hop"] = carried_hop(attempt.hop)
    match attempt.outcome:
        case Answer(message, finish_reason, usage, model, features, _, engine):
            numbers = None if features is None else list(_write_features(features).values())
            record["answer"] = (message, finish_reason, usage.input_tokens, usage.output_tokens, model, numbers)
            if engine is not None:
                record["engine"] = list(_write_engine(engine).values())
            if (details := carried_details(usage)) is not None:
                record["details"] = details
        case Failure(kind, detail, retry_after_seconds):
            record["failure"] = (str(kind), detail, retry_after_seconds)
    return record


def _add_details(record: Fields, attempt: Attempt) -> None:
    """Add what was near, and who was asked for which model; attempts of earlier versions lack both."""
    if attempt.near is not None:
        record["near"] = near_record(attempt.near)
    if attempt.provider is not None:
        record["provider"] = attempt.provider
    if attempt.requested_model is not None:
        record["requested_model"] = attempt.requested_model


def _tried_record(attempt: Attempt) -> Fields:
    record = _write_tried(attempt)
    record["judged"] = judged_record(attempt.judged)
    if attempt.cached is not None:
        record["cached"] = cached_record(attempt.cached)
    if attempt.avoided is not None:
        record["avoided"] = usage_record(attempt.avoided)
    if attempt.diet is not None:
        record["diet"] = diet_record(attempt.diet)
    if attempt.adapter is not None:
        record["adapter"] = attempt.adapter
    return record


def cached_record(cached: Cached | None) -> Fields | None:
    return None if cached is None else {**_write_cached(cached), "usage": usage_record(cached.usage)}


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


def read_ledger_attempt(record: LedgerAttemptRecord) -> Attempt:
    """Return the attempt without its message and its retry hint. Raises: ValueError if it had no outcome."""
    hop, engine = read_hop(record.hop), record.engine
    attempt = replace(read_attempt(record), hop=hop)
    if engine is None or not isinstance(attempt.outcome, Answer):
        return attempt
    return replace(attempt, outcome=replace(attempt.outcome, engine=EngineTimes(**vars(engine))))


def read_hop(record: HopRecord | None) -> Hop | None:
    return None if record is None else Hop(**vars(record))


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
        engine = None if record.engine is None else EngineTimes(*record.engine)
        outcome = Answer(message, finish_reason, usage, model, features, engine=engine)
    else:
        assert record.failure is not None, "`counted` has seen that there is an outcome"
        outcome = Failure(*record.failure)
    return _attempt(vars(record), outcome, None if record.hop is None else Hop(*record.hop))


def _attempt(record: Fields, outcome: Outcome, hop: Hop | None = None) -> Attempt:
    tried: Fields = {name: record.get(name) for name in _TRIED}
    tried["judged"] = _judged(tried["judged"])
    tried["cached"] = _cached(tried["cached"])
    tried["avoided"] = tried["avoided"] and read_usage(tried["avoided"])
    tried["diet"] = read_diet(tried["diet"])
    tried["near"] = read_near(tried["near"])
    return Attempt(outcome=outcome, hop=hop, **tried)


def _cached(record: CachedRecord | None) -> Cached | None:
    if record is None:
        return None
    return Cached(record.job_id, record.target, record.answered_at, read_usage(record.usage))


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
