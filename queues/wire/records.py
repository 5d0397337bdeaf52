"""What the fleet writes for others to read: results, ledger entries and dead letters as JSON.

Reading them back gives the same values short of what is left out on purpose: an attempt carries no
answer text and no retry hint in them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic_core import from_json, to_json

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Usage
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Problem, Result, Start, Status
from queues.wire.judgements import features_record, judged_record, read_features, read_judged, read_probe
from queues.wire.schema import VERSION

MAX_DEAD_BODY_BYTES = 512 * 1024
"""What a dead letter keeps of the body, so that it fits into a message even as base64."""

MAX_DEAD_TEXT_BYTES = 700 * 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the answer of a large result lies: an object of `bytes` bytes that holds the `message` as JSON.

    `digest` is the object store's: SHA-256=<base64url>.
    """

    bucket: str
    name: str
    bytes: int
    chunks: int
    digest: str


def encode_result(result: Result, receipt: Receipt | None = None) -> bytes:
    """With a `receipt`, a claim in place of the message."""
    answer = result.answer
    usage = _total_usage(result)
    return to_json(
        {
            "schema": VERSION,
            "id": result.job_id,
            "tenant": result.tenant,
            "task": result.task,
            "status": result.status.value,
            "reason": result.reason.value,
            "message": answer and answer.message if receipt is None else None,
            **({} if receipt is None else {"claim": asdict(receipt)}),
            "finish_reason": answer and answer.finish_reason,
            "target": result.target,
            "model": answer and answer.model,
            "confidence": result.confidence,
            "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
            "cost_usd": result.cost_usd,
            "attempts": [_attempt_record(attempt) for attempt in result.attempts],
            "error": _problem_record(result.problem),
            "submitted_at": result.submitted_at,
            "finished_at": result.finished_at,
            "metadata": result.metadata,
        },
        inf_nan_mode="null",
        fallback=dict,
    )


def decode_result(body: bytes, message: Mapping[str, Any] | None = None) -> Result:
    """The result in these bytes; with the `message` its claim stands for. Raises ValueError if they hold none."""
    try:
        record = from_json(body)
        return _read_result(record if message is None else {**record, "message": message})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no result of schema {VERSION}: {type(error).__name__} {error}") from None


def result_in(body: bytes, message: Mapping[str, Any] | None = None) -> Result | None:
    """None where it is no result: a publisher can make the broker's own replies land on a result's subject."""
    try:
        return decode_result(body, message)
    except ValueError:
        return None


def receipt_in(body: bytes) -> Receipt | None:
    """The claim of a large result; None for all others."""
    if b'"claim":{' not in body:  # most results, which need not be parsed twice
        return None
    try:
        record = from_json(body)
        claim = record.get("claim") if isinstance(record, dict) else None
        return None if claim is None else _read_receipt(claim)
    except (ValueError, TypeError, KeyError):
        return None


def _read_receipt(claim: Mapping[str, Any]) -> Receipt:
    bucket, name, digest = str(claim["bucket"]), str(claim["name"]), str(claim["digest"])
    return Receipt(bucket, name, int(claim["bytes"]), int(claim["chunks"]), digest)


def _read_result(record: Mapping[str, Any]) -> Result:
    _require_version(record)
    attempts = tuple(_read_attempt(attempt) for attempt in record["attempts"])
    return Result(
        job_id=record["id"],
        tenant=record["tenant"],
        status=Status(record["status"]),
        reason=Reason(record["reason"]),
        finished_at=record["finished_at"],
        task=record["task"],
        submitted_at=record["submitted_at"],
        answer=_read_answer(record, attempts),
        target=record["target"],
        confidence=record["confidence"],
        attempts=attempts,
        problem=_read_problem(record["error"]),
        metadata=record["metadata"],
    )


def _read_answer(record: Mapping[str, Any], attempts: tuple[Attempt, ...]) -> Answer | None:
    """The delivered answer; its own usage is that of the last attempt that answered on the delivering target."""
    if record["message"] is None:
        return None
    answered = [a.outcome.usage for a in attempts if isinstance(a.outcome, Answer) and a.target == record["target"]]
    usage = answered[-1] if answered else Usage(**record["usage"])
    return Answer(record["message"], record["finish_reason"], usage, record["model"])


def _total_usage(result: Result) -> Usage:
    """Tokens of every attempt; those of the answer itself where no attempt was needed."""
    answered = [attempt.outcome.usage for attempt in result.attempts if isinstance(attempt.outcome, Answer)]
    if not answered and result.answer is not None:
        return result.answer.usage
    return Usage(sum(u.input_tokens for u in answered), sum(u.output_tokens for u in answered))


def encode_ledger(entry: LedgerEntry) -> bytes:
    return to_json(
        {
            "schema": VERSION,
            "id": entry.job_id,
            "tenant": entry.tenant,
            "lane": entry.lane.value,
            "task": entry.task,
            "plan": entry.plan,
            "at": entry.at,
            "reason": entry.reason.value,
            "status": entry.status and entry.status.value,
            "attempt": None if entry.attempt is None else _attempt_record(entry.attempt),
        },
        inf_nan_mode="null",
    )


def decode_ledger(body: bytes) -> LedgerEntry:
    """The ledger entry in these bytes. Raises ValueError if they hold none."""
    try:
        return _read_ledger(from_json(body))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no ledger entry of schema {VERSION}: {type(error).__name__} {error}") from None


def _read_ledger(record: Mapping[str, Any]) -> LedgerEntry:
    _require_version(record)
    status, attempt = record["status"], record["attempt"]
    return LedgerEntry(
        job_id=record["id"],
        tenant=record["tenant"],
        lane=Lane(record["lane"]),
        task=record["task"],
        plan=record["plan"],
        at=record["at"],
        reason=Reason(record["reason"]),
        status=None if status is None else Status(status),
        attempt=None if attempt is None else _read_attempt(attempt),
    )


def encode_start(start: Start) -> bytes:
    return to_json(
        {
            "schema": VERSION,
            "id": start.job_id,
            "tenant": start.tenant,
            "attempt": start.attempt,
            "call": start.call,
            "target": start.target,
            "at": start.at,
            "by": start.by,
        }
    )


def encode_dead(letter: DeadLetter) -> bytes:
    kept = letter.body[:MAX_DEAD_BODY_BYTES]
    encoding, body = _as_text(kept)
    return to_json(
        {
            "schema": VERSION,
            "id": letter.job_id,
            "tenant": letter.tenant,
            "reason": letter.reason.value,
            "error": _problem_record(letter.problem),
            "encoding": encoding,
            "body": body,
            "body_bytes": len(letter.body),
            "at": letter.at,
            "lane": letter.lane,
        }
    )


def _as_text(body: bytes) -> tuple[str, str]:
    """Text where it is text; base64 also where escaping would blow the text up beyond what fits."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "base64", base64.b64encode(body).decode()
    if len(body) * 6 > MAX_DEAD_TEXT_BYTES and len(to_json(text)) > MAX_DEAD_TEXT_BYTES:
        return "base64", base64.b64encode(body).decode()
    return "utf-8", text


def decode_dead(body: bytes) -> DeadLetter:
    """The dead letter in these bytes. Raises ValueError if they hold none."""
    try:
        return _read_dead(from_json(body))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no dead letter of schema {VERSION}: {type(error).__name__} {error}") from None


def _read_dead(record: Mapping[str, Any]) -> DeadLetter:
    _require_version(record)
    body = record["body"]
    return DeadLetter(
        tenant=record["tenant"],
        job_id=record["id"],
        reason=Reason(record["reason"]),
        problem=Problem(**record["error"]),
        body=base64.b64decode(body) if record["encoding"] == "base64" else body.encode(),
        at=record["at"],
        lane=None if record.get("lane") is None else Lane(record["lane"]),
    )


def _require_version(record: Mapping[str, Any]) -> None:
    if record["schema"] != VERSION:
        raise ValueError(f"schema {record['schema']!r} is not {VERSION}")


def _attempt_record(attempt: Attempt) -> dict[str, Any]:
    record: dict[str, Any] = {
        "number": attempt.number,
        "target": attempt.target,
        "reason": attempt.reason.value,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "confidence": attempt.confidence,
        "cost_usd": attempt.cost_usd,
        "judged": judged_record(attempt.judged),
        "probe": attempt.probe,
        "repeated": attempt.repeated,
    }
    match attempt.outcome:
        case Answer() as answer:
            usage = {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens}
            record.update(model=answer.model, finish_reason=answer.finish_reason, usage=usage)
            record["features"] = features_record(answer.features)
        case Failure() as failure:
            record["failure"] = {"kind": failure.kind.value, "detail": failure.detail}
    return record


def _read_attempt(record: Mapping[str, Any]) -> Attempt:
    outcome: Answer | Failure
    if "failure" in record:
        outcome = Failure(FailureKind(record["failure"]["kind"]), record["failure"]["detail"])
    else:
        features = read_features(record.get("features"))
        outcome = Answer({}, record["finish_reason"], Usage(**record["usage"]), record["model"], features)
    return Attempt(
        number=record["number"],
        target=record["target"],
        reason=Reason(record["reason"]),
        started_at=record["started_at"],
        ended_at=record["ended_at"],
        outcome=outcome,
        confidence=record["confidence"],
        cost_usd=record["cost_usd"],
        judged=read_judged(record.get("judged")),
        probe=read_probe(record.get("probe")),
        repeated=record.get("repeated", False),
    )


def _problem_record(problem: Problem | None) -> dict[str, str | None] | None:
    if problem is None:
        return None
    return {"message": problem.message, "field": problem.field, "rule": problem.rule}


def _read_problem(record: Mapping[str, str] | None) -> Problem | None:
    return None if record is None else Problem(**record)
