"""The terms of a job that comes over HTTP: OpenAI's own fields, and headers for what OpenAI has no field for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Header
from pydantic import BaseModel, Field
from pydantic_core import to_json

from fleet.gateway.caller import Caller
from fleet.gateway.errors import ApiError
from fleet.gateway.models import unknown_model
from fleet.gateway.state import Doors
from fleet.model.errors import InvalidJob
from fleet.model.job import ChatRequest, Job, Lane, Plan, Tier
from fleet.model.result import Malformed, Problem
from fleet.model.submission import CLOUD_WORDS, Submission, submission_of
from policies.features.needs import needs_of
from policies.routing.admission import LONGEST_DELAY_SECONDS, problem_with
from queues.wire.job import MAX_BODY_BYTES, KeyName, PersonId, TaskName, decode_job, encode_submission
from queues.wire.letters import traceparent_in
from queues.wire.record import TargetName
from queues.wire.subjects import TRACEPARENT, job_subject

DEFAULT_TASK = "chat"

ServiceTier = Literal["auto", "default", "flex", "scale", "priority"]

LANES: Mapping[ServiceTier | None, Lane] = {
    "flex": Lane.BULK,
    None: Lane.STANDARD,
    "auto": Lane.STANDARD,
    "default": Lane.STANDARD,
    "scale": Lane.STANDARD,
    "priority": Lane.INTERACTIVE,
}
"""The lane by OpenAI's `service_tier`."""

MODEL = "request.model"

Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=256)], Annotated[str, Field(max_length=256)]],
    Field(max_length=16),
]
"""What comes back with the result; see `queues.wire.job`."""

Seconds = Annotated[float, Field(gt=0, le=1e9)]


class TermsHeaders(BaseModel):
    """What a job may say that OpenAI's requests cannot; see `JobOptions`. Lists are written with commas."""

    x_fleet_task: TaskName = DEFAULT_TASK
    x_fleet_tier: Tier | None = None
    x_fleet_plan: Plan = Plan.PAID
    x_fleet_deadline_seconds: Seconds | None = None
    x_fleet_not_before_seconds: Annotated[float, Field(gt=0, le=LONGEST_DELAY_SECONDS)] | None = None
    x_fleet_max_cost_usd: Annotated[float, Field(gt=0, le=1e9)] | None = None
    x_fleet_cloud: str = "allow"
    x_fleet_regions: str | None = None
    x_fleet_own_key: KeyName | None = None
    x_fleet_above: TargetName | None = None
    x_fleet_person: PersonId | None = None

    def options(self) -> dict[str, Any]:
        said = {name.removeprefix("x_fleet_"): value for name, value in self if value is not None}
        if self.x_fleet_cloud not in CLOUD_WORDS:
            said["cloud"] = _names(self.x_fleet_cloud)
        if self.x_fleet_regions is not None:
            said["regions"] = _names(self.x_fleet_regions)
        return said


Terms = Annotated[TermsHeaders, Header()]

_PREFIX = "x-fleet-"
_KNOWN = frozenset(name.replace("_", "-") for name in TermsHeaders.model_fields)


def job_of(
    request: ChatRequest,
    service_tier: ServiceTier | None,
    metadata: Mapping[str, str] | None,
    terms: TermsHeaders,
    caller: Caller,
    doors: Doors,
    headers: Mapping[str, str],
) -> tuple[Submission, Job]:
    """Return the job as it is submitted and as a dispatcher will read it.

    Raises: ApiError for whatever a dispatcher would reject; the caller need not wait to hear of it.
    """
    _refuse_unknown(headers)
    options = {**terms.options(), "lane": LANES[service_tier], "metadata": metadata or {}}
    task, now = options.pop("task"), doors.now()
    traceparent = traceparent_in({TRACEPARENT: headers.get(TRACEPARENT, "")})
    said = to_json([task, request, {**options, "metadata": metadata}], fallback=str)
    job_id = doors.sent_before.job_id(headers, caller.tenant, said, now)
    submission = submission_of(job_id, task, request, options, now, traceparent)
    return submission, _accepted(submission, caller.tenant, now, doors)


def _refuse_unknown(headers: Mapping[str, str]) -> None:
    """Raises: ApiError for a header of ours that there is not: a misspelt one would change nothing in silence."""
    for name in headers:
        if name.startswith(_PREFIX) and name not in _KNOWN:
            known = ", ".join(sorted(_KNOWN))
            raise ApiError(400, f"{name[:64]} is not a known header; there are {known}.", param=name[:64])


def _accepted(submission: Submission, tenant: str, now: float, doors: Doors) -> Job:
    """Return the job as a dispatcher reads it. Raises: ApiError if it would be rejected."""
    subject = job_subject(submission.lane, tenant)
    try:
        body = encode_submission(submission, tenant)
    except InvalidJob as error:
        status = 413 if str(MAX_BODY_BYTES) in error.rule else 400
        raise ApiError(status, str(error), param=_param(error.field), code="invalid_value") from None
    job = decode_job(body, None, subject, now)
    problem = (
        job.problem
        if isinstance(job, Malformed)
        else problem_with(job, needs_of(job.request, doors.rules.estimates), doors.rules)
    )
    if problem is not None:
        raise refused(problem, doors, submission.request.get("model"))
    assert isinstance(job, Job), "what is malformed has a problem"
    return job


def refused(problem: Problem, doors: Doors, model: object = None) -> ApiError:
    """Return the error for a job that breaks a rule, naming the field as its sender knows it."""
    if problem.field == MODEL and isinstance(model, str) and model not in doors.rules.catalogue.targets:
        return unknown_model(model, doors)
    rule = "" if problem.rule is None or problem.rule in problem.message else f" ({problem.rule})"
    message = problem.message.removeprefix("request.")
    return ApiError(400, f"{message}{rule}", param=_param(problem.field), code="invalid_value")


def _param(field: str | None) -> str | None:
    """Return the field as its sender names it: one of the body, or the header that says it."""
    if field is None:
        return None
    header = f"{_PREFIX}{field.partition('.')[0].replace('_', '-')}"
    return header if header in _KNOWN else field.removeprefix("request.")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]
