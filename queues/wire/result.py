"""RESULTS: the one terminal result of a job, and the claim that stands for an answer too large for a message.

Reading it back gives the same value short of what is left out on purpose: an attempt carries no answer text and no
retry hint in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_core import to_json

from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.reason import Reason
from fleet.model.result import Problem, Result, Status
from queues.wire.attempt import AttemptRecord, attempt_record, read_attempt
from queues.wire.record import Fields, Version, Written, fields_in, read, writer
from queues.wire.usage import UsageRecord, read_usage, usage_record


class ProblemRecord(Written):
    """The reason that there is no answer; `field` and `rule` where something from outside breaks a rule."""

    message: str
    field: str | None
    rule: str | None


class ClaimRecord(Written):
    """The place of a large result's message: object `name` of the object store `bucket`, `bytes` bytes of JSON.

    Its `chunks` are numbered from 0; `digest` is that of the whole, SHA-256=<base64url>.
    """

    bucket: str
    name: str
    bytes: int
    chunks: int
    digest: str


class ResultRecord(Written):
    """The one terminal result of a job, on `results.<tenant>.<id>`.

    `message` is an OpenAI assistant message, null where there is no answer, and where it is too large for a
    message: then `claim` says where it lies. `usage` and `cost_usd` are totals over all attempts.
    """

    schema_: Version
    job_id: Annotated[str, Field(alias="id")]
    tenant: str
    task: str | None
    status: Status
    reason: Reason
    message: dict[str, Any] | None
    claim: ClaimRecord | None = None
    finish_reason: str | None
    target: str | None
    model: str | None
    confidence: float | None
    usage: UsageRecord
    cost_usd: float
    attempts: list[AttemptRecord]
    problem: Annotated[ProblemRecord | None, Field(alias="error")]
    submitted_at: float | None
    finished_at: float
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The place of a large result's answer: an object of `bytes` bytes that holds the `message` as JSON.

    `digest` is the object store's: SHA-256=<base64url>.
    """

    bucket: str
    name: str
    bytes: int
    chunks: int
    digest: str


_write_result = writer(Result, ResultRecord, apart=("answer", "attempts", "problem"))
_write_problem = writer(Problem, ProblemRecord)
_PLAIN = tuple(field.name for field in fields(Result) if field.name not in ("answer", "attempts", "problem"))


def encode_result(result: Result, receipt: Receipt | None = None) -> bytes:
    """Encode a result; with a `receipt`, put a claim in place of the message."""
    answer = result.answer
    record = _write_result(result)
    record["message"] = answer and answer.message if receipt is None else None
    if receipt is not None:
        record["claim"] = asdict(receipt)
    record["finish_reason"] = answer and answer.finish_reason
    record["model"] = answer and answer.model
    record["usage"] = usage_record(_total_usage(result))
    record["cost_usd"] = result.cost_usd
    record["attempts"] = [attempt_record(attempt) for attempt in result.attempts]
    record["error"] = result.problem and problem_record(result.problem)
    return to_json(record, inf_nan_mode="null", fallback=dict)


def problem_record(problem: Problem) -> Fields:
    return _write_problem(problem)


def decode_result(body: bytes, message: Mapping[str, Any] | None = None) -> Result:
    """Return the result in the bytes, with the `message` its claim stands for. Raises: ValueError if there is none."""
    record: ResultRecord = read(ResultRecord, body, "result")
    attempts = tuple(map(read_attempt, record.attempts))
    answer = _answer(record, attempts, record.message if message is None else message)
    problem = None if record.problem is None else Problem(**vars(record.problem))
    held = vars(record)
    return Result(answer=answer, attempts=attempts, problem=problem, **{name: held[name] for name in _PLAIN})


def result_in(body: bytes, message: Mapping[str, Any] | None = None) -> Result | None:
    """Return the result, if it is one: a publisher can make the broker's replies land on a result's subject."""
    try:
        return decode_result(body, message)
    except ValueError:
        return None


def receipt_in(body: bytes) -> Receipt | None:
    """Return the claim of a large result; None for all others."""
    if b'"claim":{' not in body:  # most results, which need not be parsed twice
        return None
    try:
        return Receipt(**vars(ClaimRecord.model_validate(fields_in(body).get("claim"))))
    except ValidationError:
        return None


def _answer(record: ResultRecord, attempts: tuple[Attempt, ...], message: Mapping[str, Any] | None) -> Answer | None:
    """Return the delivered answer; its own usage is that of the last attempt that answered on the delivering target."""
    if message is None:
        return None
    answered = [a.outcome.usage for a in attempts if isinstance(a.outcome, Answer) and a.target == record.target]
    usage = answered[-1] if answered else read_usage(record.usage)
    # A backend that names neither has answered all the same: anyone who waits for the result must be able to read it.
    return Answer(message, record.finish_reason or "", usage, record.model or "")


def _total_usage(result: Result) -> Usage:
    """Return the tokens of every attempt, or those of the answer itself where no attempt was needed."""
    answered = [attempt.outcome.usage for attempt in result.attempts if isinstance(attempt.outcome, Answer)]
    if not answered and result.answer is not None:
        return result.answer.usage
    if len(answered) == 1:
        return answered[0]
    return sum(answered, Usage())
