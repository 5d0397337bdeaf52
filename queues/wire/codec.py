"""Bytes to values and back: jobs, work, and the broker's messages they travel in.

Jobs come from strangers and are validated in full; work is our own and is only unpacked. The chat
request is carried as parsed and tidied, never through the models that check it. Results, ledger entries and
dead letters have their own module, `queues.wire.records`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Outcome, Usage
from fleet.model.chat import tidy
from fleet.model.delivery import JobsOf, Source, WorkOf
from fleet.model.errors import InvalidJob
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, JOB_ID, TENANT, Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import SHADOW_ID, Malformed, Problem, Shadow, Work
from fleet.model.submission import Submission
from queues.wire import schema
from queues.wire.judgements import judged_record, read_judged, read_probe
from queues.wire.packed import PACKED
from queues.wire.problems import checked, field_problem
from queues.wire.subjects import MSG_ID

MAX_BODY_BYTES = 512 * 1024
"""Half of NATS' default message limit: a job leaves room for its attempts' answers in its WORK message."""

UNCHECKED_BODY_BYTES = 64 * 1024
"""Written anew, JSON grows at most fourfold (1e15 to 1000000000000000.0): a body this short stays within the limit."""

INVALID_TENANT = "invalid"
"""Who is answered where the subject names no tenant; subjects of results are built from it."""

COMPARISON = "shadow"
"""The end of the id of a message that is one."""

_VALIDATE = schema.Job.__pydantic_validator__.validate_python


def encode_submission(submission: Submission, tenant: str) -> bytes:
    """A job envelope of wire schema v1. Raises InvalidJob where it cannot even be addressed or is too long."""
    if not JOB_ID.fullmatch(submission.id):
        raise InvalidJob("id", f"must match {JOB_ID.pattern}")
    envelope = {
        "schema": schema.VERSION,
        "id": submission.id,
        "tenant": tenant,
        "lane": submission.lane,
        "task": submission.task,
        "tier": submission.tier,
        "plan": submission.plan,
        "deadline": submission.deadline_at,
        "not_before": submission.not_before_at,
        "max_cost_usd": submission.max_cost_usd,
        "cloud": submission.cloud,
        "own_key": submission.own_key,
        "above": submission.above,
        "metadata": submission.metadata,
        "request": submission.request,
    }
    try:
        body = to_json({name: value for name, value in envelope.items() if value is not None}, fallback=dict)
    except ValueError:
        raise InvalidJob("request", "must be JSON in valid Unicode") from None
    if len(body) > MAX_BODY_BYTES:
        raise InvalidJob("request", f"must leave the job within {MAX_BODY_BYTES} bytes")
    return body


def decode(
    source: Source, body: bytes, headers: Mapping[str, str] | None, subject: str, stored_at: float
) -> Job | Work | Malformed:
    """What a message taken from `source` holds."""
    match source:
        case JobsOf():
            return decode_job(body, headers, subject, stored_at)
        case WorkOf():
            return decode_work(body, subject, headers)


def decode_job(body: bytes, headers: Mapping[str, str] | None, subject: str, stored_at: float) -> Job | Malformed:
    """The job on `jobs.<lane>.<tenant>`, or what is wrong with it. `stored_at` is the broker's time, unix seconds."""
    _, lane_name, tenant = subject.split(".", 2)
    lane = Lane(lane_name)
    read = _read_envelope(body, lane, tenant)
    if isinstance(read, Problem):
        return _malformed(body, headers, subject, lane, tenant, read)
    envelope, request = read
    deadline, not_before = envelope.deadline, envelope.not_before
    return Job(
        id=envelope.id,
        tenant=tenant,
        lane=lane,
        task=envelope.task,
        plan=Plan(envelope.plan),
        request=request,
        submitted_at=stored_at,
        tier=None if envelope.tier is None else Tier(envelope.tier),
        deadline_at=None if deadline is None else schema.moment_at(deadline),
        max_cost_usd=envelope.max_cost_usd,
        cloud=_cloud(envelope.cloud),
        own_key=envelope.own_key,
        metadata=envelope.metadata,
        above=envelope.above,
        not_before_at=None if not_before is None else schema.moment_at(not_before),
    )


def _read_envelope(body: bytes, lane: Lane, tenant: str) -> tuple[schema.Job, dict[str, Any]] | Problem:
    """The validated envelope and the request as it was sent, but for what says nothing."""
    if len(body) > MAX_BODY_BYTES:
        return field_problem("body", f"must be at most {MAX_BODY_BYTES} bytes, not {len(body)}")
    try:
        sent = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return field_problem("body", f"must be JSON: {error}")
    if not isinstance(sent, dict):
        return field_problem("body", "must be a JSON object")
    envelope: schema.Job | Problem = checked(_VALIDATE, sent)
    if isinstance(envelope, Problem):
        return envelope
    problem = _subject_problem(envelope, lane, tenant) or _size_problem(body, sent)
    return problem if problem is not None else (envelope, tidy(sent["request"]))


def _size_problem(body: bytes, sent: Mapping[str, Any]) -> Problem | None:
    if len(body) <= UNCHECKED_BODY_BYTES or len(to_json(sent)) <= MAX_BODY_BYTES:
        return None
    return field_problem("body", f"must be at most {MAX_BODY_BYTES} bytes when its numbers are written out")


def _subject_problem(envelope: schema.Job, lane: Lane, tenant: str) -> Problem | None:
    """The subject is what the broker's permissions checked; the body may only agree with it."""
    if not TENANT.fullmatch(tenant):
        return field_problem("subject", f"must name a tenant that matches {TENANT.pattern}")
    if envelope.tenant not in (None, tenant):
        return field_problem("tenant", f"must be the tenant of the subject, {tenant}")
    if envelope.lane not in (None, lane.value):
        return field_problem("lane", f"must be the lane of the subject, {lane}")
    return None


def _cloud(cloud: str | list[str]) -> Cloud:
    if isinstance(cloud, list):
        return Cloud(frozenset(cloud))
    return CLOUD_ALLOW if cloud == "allow" else CLOUD_DENY


def _malformed(
    body: bytes, headers: Mapping[str, str] | None, subject: str, lane: Lane, tenant: str, problem: Problem
) -> Malformed:
    """To be answered under a tenant and an id that are safe in a subject."""
    if TENANT.fullmatch(tenant) is None:
        # Not under an id it chose: a tenant may be called so, and the id be one of its jobs.
        return Malformed(made_up_id(body, subject), INVALID_TENANT, lane, problem, body)
    return Malformed(_best_id(body, headers, subject, tenant), tenant, lane, problem, body)


def job_message_id(tenant: str, job_id: str) -> str:
    """The broker compares message ids across the whole stream, so two tenants' jobs must not share one."""
    return f"{tenant}.{job_id}"


def _best_id(body: bytes, headers: Mapping[str, str] | None, subject: str, tenant: str) -> str:
    """The id to answer under: the body's, else the message id's, else one that every redelivery gives again."""
    message_id = (headers or {}).get(MSG_ID, "").removeprefix(job_message_id(tenant, ""))
    for candidate in (_id_in(body), message_id.partition(".")[0]):
        if isinstance(candidate, str) and JOB_ID.fullmatch(candidate):
            return candidate
    return made_up_id(body, subject)


def made_up_id(body: bytes, subject: str) -> str:
    return "invalid-" + hashlib.sha256(subject.encode() + b"\0" + body).hexdigest()[:32]


def _id_in(body: bytes) -> object:
    return _fields_of(body).get("id")


def _fields_of(body: bytes) -> Mapping[str, Any]:
    """What a message that could not be read has all the same, as far as it can be told."""
    try:
        sent = from_json(body)
    except ValueError:
        return {}
    return sent if isinstance(sent, dict) else {}


def work_message_id(work: Work) -> str:
    """One per job and hop. It says of a comparison that it is one, also where the body cannot be read."""
    message_id = f"{work.job.tenant}.{work.job.id}.{work.hop}"
    return message_id if work.shadow is None else f"{message_id}.{COMPARISON}"


def encode_work(work: Work) -> bytes:
    """The request stays at the top level, so that it is nested no deeper than the JSON parser allows for a job."""
    job = work.job
    providers = job.cloud.providers
    return to_json(
        {
            "schema": schema.VERSION,
            "id": job.id,
            "tenant": job.tenant,
            "lane": job.lane.value,
            "task": job.task,
            "tier": job.tier and job.tier.value,
            "plan": job.plan.value,
            "deadline_at": job.deadline_at,
            "not_before_at": job.not_before_at,
            "max_cost_usd": job.max_cost_usd,
            "cloud": None if providers is None else sorted(providers),
            "own_key": job.own_key,
            "above": job.above,
            "metadata": job.metadata,
            "submitted_at": job.submitted_at,
            "request": job.request,
            "target": work.target,
            "reason": work.reason.value,
            "hop": work.hop,
            "shadow": _pack_shadow(work.shadow),
            "attempts": [_pack_attempt(attempt) for attempt in work.attempts],
        },
        fallback=dict,
    )


def decode_work(body: bytes, subject: str, headers: Mapping[str, str] | None = None) -> Work | Malformed:
    """The work on `work.<target>.<lane>.<tenant>`; Malformed where the bytes are not ours or of another version."""
    try:
        packed = PACKED.validate_json(body, strict=True)
        _require_address(packed, subject)
        return _unpack_work(packed)
    except (ValueError, TypeError, KeyError) as error:
        _, _, lane, tenant = subject.split(".", 3)
        problem = field_problem("body", f"must be a WORK message of schema {schema.VERSION}: {type(error).__name__}")
        bad = _malformed(body, headers, subject, Lane(lane), tenant, problem)
        said = (headers or {}).get(MSG_ID, "").endswith(f".{COMPARISON}")
        return replace(bad, is_comparison=said or _is_comparison(_fields_of(body)))


def _is_comparison(fields: Mapping[str, Any]) -> bool:
    """No job is taken for one: it would never be answered."""
    return isinstance(fields.get("shadow"), list) and str(fields.get("id")).startswith(SHADOW_ID)


def _require_address(packed: Mapping[str, Any], subject: str) -> None:
    """What comes of the work is published under these names, so they must be those that the broker let through."""
    _, *address = subject.split(".", 3)
    if [packed["target"], packed["lane"], packed["tenant"]] != address:
        raise ValueError("target, lane and tenant must be those of the subject")


def _unpack_work(packed: Mapping[str, Any]) -> Work:
    return Work(
        job=_unpack_job(packed),
        target=packed["target"],
        reason=Reason(packed["reason"]),
        hop=packed["hop"],
        shadow=_unpack_shadow(packed.get("shadow")),
        attempts=_unpack_attempts(packed["attempts"]),
    )


def _unpack_attempts(packed: Sequence[Mapping[str, Any]]) -> tuple[Attempt, ...]:
    attempts = tuple(_unpack_attempt(attempt) for attempt in packed)
    if any(attempt.number != number for number, attempt in enumerate(attempts, 1)):
        raise ValueError("attempts must be counted from 1")
    return attempts


def _pack_shadow(shadow: Shadow | None) -> Sequence[Any] | None:
    return None if shadow is None else (shadow.job_id, shadow.target, shadow.attempt, shadow.propensity)


def _unpack_shadow(packed: Sequence[Any] | None) -> Shadow | None:
    return None if packed is None else Shadow(*packed)


def _unpack_job(packed: Mapping[str, Any]) -> Job:
    tier, providers = packed["tier"], packed["cloud"]
    return Job(
        id=packed["id"],
        tenant=packed["tenant"],
        lane=Lane(packed["lane"]),
        task=packed["task"],
        plan=Plan(packed["plan"]),
        request=packed["request"],
        submitted_at=packed["submitted_at"],
        tier=None if tier is None else Tier(tier),
        deadline_at=packed["deadline_at"],
        max_cost_usd=packed["max_cost_usd"],
        cloud=CLOUD_ALLOW if providers is None else Cloud(frozenset(providers)),
        own_key=packed["own_key"],
        metadata=packed["metadata"],
        above=packed.get("above"),
        not_before_at=packed.get("not_before_at"),
    )


def _pack_attempt(attempt: Attempt) -> dict[str, Any]:
    return {
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
        **_pack_outcome(attempt.outcome),
    }


def _pack_outcome(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Answer(message, finish_reason, usage, model, features):
            return {
                "answer": [message, finish_reason, usage.input_tokens, usage.output_tokens, model, _numbers(features)]
            }
        case Failure(kind, detail, retry_after_seconds):
            return {"failure": [kind.value, detail, retry_after_seconds]}


def _numbers(features: Features | None) -> Sequence[float] | None:
    if features is None:
        return None
    f = features
    return (f.sum, f.mean, f.min, f.q10, f.q25, f.count, f.margin, f.entropy)


def _unpack_attempt(packed: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=packed["number"],
        target=packed["target"],
        reason=Reason(packed["reason"]),
        started_at=packed["started_at"],
        ended_at=packed["ended_at"],
        outcome=_unpack_outcome(packed),
        confidence=packed["confidence"],
        cost_usd=packed["cost_usd"],
        judged=read_judged(packed.get("judged")),
        probe=read_probe(packed.get("probe")),
        repeated=packed.get("repeated", False),
    )


def _unpack_outcome(packed: Mapping[str, Any]) -> Outcome:
    if "answer" in packed:
        message, finish_reason, input_tokens, output_tokens, model, numbers = packed["answer"]
        features = None if numbers is None else Features(*numbers)
        return Answer(message, finish_reason, Usage(input_tokens, output_tokens), model, features)
    kind, detail, retry_after_seconds = packed["failure"]
    return Failure(FailureKind(kind), detail, retry_after_seconds)
