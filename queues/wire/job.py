"""JOBS: a job as a publisher sends it. It comes from strangers and is validated in full.

The chat request is carried as parsed and tidied, never through the models that check it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import from_json, to_json

from fleet.model.chat import tidy
from fleet.model.errors import InvalidJob
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, JOB_ID, PERSON, TENANT, Cloud, Job, Lane, Plan, Tier
from fleet.model.result import Malformed, Problem
from fleet.model.submission import Submission
from fleet.model.target import REGION
from queues.wire.chat import ChatCompletionRequest, Strict
from queues.wire.problems import checked, field_problem
from queues.wire.record import VERSION, WORDS, JobId, TargetName, TenantName, Version, fields_in, writer
from queues.wire.subjects import MSG_ID

MAX_BODY_BYTES = 512 * 1024
"""Half of NATS' default message limit, so that a job leaves room for its attempts' answers in its WORK message."""

UNCHECKED_BODY_BYTES = 64 * 1024
"""Written again, JSON grows at most fourfold (1e15 to 1000000000000000.0): a body this short stays within the limit."""

INVALID_TENANT = "invalid"
"""The tenant to answer where the subject names none; subjects of results are built from it."""

LATEST_MOMENT_AT = 1e11
"""The year 5138. A later number is milliseconds, sent by mistake."""


def _moment_at(moment: float | str) -> float:
    """Return the moment in unix seconds."""
    try:
        at = _seconds(moment)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"must be unix seconds or ISO 8601 with an offset ({_one_line(error)})") from None
    if not 0 < at < LATEST_MOMENT_AT:
        raise ValueError("must be unix seconds (not milliseconds) after 1970")
    return at


def _seconds(moment: float | str) -> float:
    if isinstance(moment, str):
        date = datetime.fromisoformat(moment)
        if date.tzinfo is None:
            raise ValueError("must carry an offset, as in 2030-01-31T12:00:00+00:00 or ...Z")
        return date.timestamp()
    return float(moment)


def _one_line(error: Exception) -> str:
    """Return the first words of a parser's complaint, without the value it quotes."""
    return str(error).split(": ")[0]


TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
RegionName = Annotated[str, Field(pattern=f"^{REGION.pattern}$")]
# The name has no underscore: `<tenant>__<name>` can then be read in one way only.
KeyName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}/[A-Za-z0-9-]{1,64}$")]
PersonId = Annotated[str, Field(pattern=f"^{PERSON.pattern}$")]
Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=256)], Annotated[str, Field(max_length=256)]],
    Field(max_length=16),
]
Moment = Annotated[float | str, AfterValidator(_moment_at)]


class JobRecord(Strict):
    """A job as a publisher sends it to `jobs.<lane>.<tenant>`.

    `tenant` and `lane` may be repeated here and must then equal the subject's. `deadline` and `not_before` (when it may
    run first) are unix seconds or ISO 8601 with an offset. `own_key` names a secret and never is one. `above` names a
    target whose answer was not good enough: only stronger ones run the job. `regions` are the only ones where the
    request may be processed. `person` is an opaque id of whom the request is about, for erasure. A field that is null
    is read as absent, here and in the request.
    """

    schema_: Version = VERSION
    id: JobId
    tenant: TenantName | None = None
    lane: Annotated[Lane, WORDS] | None = None
    task: TaskName
    tier: Annotated[Tier, WORDS] | None = None
    plan: Annotated[Plan, WORDS] = Plan.PAID
    deadline_at: Moment | None = Field(None, alias="deadline")
    not_before_at: Moment | None = Field(None, alias="not_before")
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    cloud: Literal["allow", "deny"] | Annotated[list[ProviderName], Field(max_length=16)] = "allow"
    regions: Annotated[list[RegionName], Field(min_length=1, max_length=16), AfterValidator(tuple)] | None = None
    own_key: KeyName | None = None
    above: TargetName | None = None
    person: PersonId | None = None
    metadata: Metadata = Field(default_factory=dict)
    request: ChatCompletionRequest


_VALIDATE = JobRecord.__pydantic_validator__.validate_python
_write_submission = writer(Submission, JobRecord, apart=("traceparent",))


def encode_submission(submission: Submission, tenant: str) -> bytes:
    """Return a job envelope of wire schema v1. Raises: InvalidJob if it has no valid id or Unicode, or is too long."""
    if not JOB_ID.fullmatch(submission.id):
        raise InvalidJob("id", f"must match {JOB_ID.pattern}")
    envelope = {**_write_submission(submission), "tenant": tenant}
    try:
        body = to_json({name: value for name, value in envelope.items() if value is not None}, fallback=dict)
    except ValueError:
        raise InvalidJob("request", "must be JSON in valid Unicode") from None
    if len(body) > MAX_BODY_BYTES:
        raise InvalidJob("request", f"must leave the job within {MAX_BODY_BYTES} bytes")
    return body


def check_submission(submission: Submission, tenant: str) -> None:
    """Refuse what a dispatcher would refuse of the job's form. Raises: InvalidJob naming the field and the rule."""
    job_of(submission, tenant, stored_at=0.0)


def job_of(submission: Submission, tenant: str, stored_at: float) -> Job:
    """Return the job that a dispatcher reads where this is submitted. Raises: InvalidJob like `check_submission`."""
    body = encode_submission(submission, tenant)
    job = decode_job(body, None, f"jobs.{submission.lane}.{tenant}", stored_at)
    if isinstance(job, Malformed):
        problem = job.problem
        raise InvalidJob(problem.field or "request", problem.rule or problem.message)
    return job


def decode_job(body: bytes, headers: Mapping[str, str] | None, subject: str, stored_at: float) -> Job | Malformed:
    """Return the job on `jobs.<lane>.<tenant>`, or its problem. `stored_at` is the broker's time, unix seconds."""
    _, lane_name, tenant = subject.split(".", 2)
    lane = Lane(lane_name)
    read = _read_envelope(body, lane, tenant)
    if isinstance(read, Problem):
        return malformed(body, headers, subject, lane, tenant, read)
    envelope, request = read
    said: dict[str, Any] = vars(envelope)
    del said["schema_"]
    said.update(tenant=tenant, lane=lane, request=request, cloud=_cloud(said["cloud"]))
    return Job(submitted_at=stored_at, **said)


def _read_envelope(body: bytes, lane: Lane, tenant: str) -> tuple[JobRecord, dict[str, Any]] | Problem:
    """Return the validated envelope, and the request as it was sent but for fields that say nothing."""
    if len(body) > MAX_BODY_BYTES:
        return field_problem("body", f"must be at most {MAX_BODY_BYTES} bytes, not {len(body)}")
    try:
        sent = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return field_problem("body", f"must be JSON: {error}")
    if not isinstance(sent, dict):
        return field_problem("body", "must be a JSON object")
    envelope: JobRecord | Problem = checked(_VALIDATE, sent)
    if isinstance(envelope, Problem):
        return envelope
    problem = _subject_problem(envelope, lane, tenant) or _size_problem(body, sent)
    return problem if problem is not None else (envelope, tidy(sent["request"]))


def _size_problem(body: bytes, sent: Mapping[str, Any]) -> Problem | None:
    if len(body) <= UNCHECKED_BODY_BYTES or len(to_json(sent)) <= MAX_BODY_BYTES:
        return None
    return field_problem("body", f"must be at most {MAX_BODY_BYTES} bytes when its numbers are written out")


def _subject_problem(envelope: JobRecord, lane: Lane, tenant: str) -> Problem | None:
    """Refuse a bad tenant name, and a body that disagrees with the subject, which the broker's permissions checked."""
    if not TENANT.fullmatch(tenant):
        return field_problem("subject", f"must name a tenant that matches {TENANT.pattern}")
    if envelope.tenant not in (None, tenant):
        return field_problem("tenant", f"must be the tenant of the subject, {tenant}")
    if envelope.lane not in (None, lane):
        return field_problem("lane", f"must be the lane of the subject, {lane}")
    return None


def _cloud(cloud: str | list[str]) -> Cloud:
    if isinstance(cloud, list):
        return Cloud(frozenset(cloud))
    return CLOUD_ALLOW if cloud == "allow" else CLOUD_DENY


def malformed(
    body: bytes, headers: Mapping[str, str] | None, subject: str, lane: Lane, tenant: str, problem: Problem
) -> Malformed:
    """Return the message as malformed, to be answered under a tenant and an id that are safe in a subject."""
    if TENANT.fullmatch(tenant) is None:
        # Not under an id it chose: a tenant may be called so, and the id be one of its jobs.
        return Malformed(made_up_id(body, subject), INVALID_TENANT, lane, problem, body)
    return Malformed(_best_id(body, headers, subject, tenant), tenant, lane, problem, body)


def job_message_id(tenant: str, job_id: str) -> str:
    """Return a message id that no other tenant's job shares: the broker compares ids across the whole stream."""
    return f"{tenant}.{job_id}"


def _best_id(body: bytes, headers: Mapping[str, str] | None, subject: str, tenant: str) -> str:
    """Return the id to answer under: the body's, else the message id's, else one that every redelivery gives again."""
    message_id = (headers or {}).get(MSG_ID, "").removeprefix(job_message_id(tenant, ""))
    for candidate in (_id_in(body), message_id.partition(".")[0]):
        if isinstance(candidate, str) and JOB_ID.fullmatch(candidate):
            return candidate
    return made_up_id(body, subject)


def made_up_id(body: bytes, subject: str) -> str:
    return "invalid-" + hashlib.sha256(subject.encode() + b"\0" + body).hexdigest()[:32]


def _id_in(body: bytes) -> object:
    return fields_in(body).get("id")
