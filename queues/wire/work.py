"""WORK: a job on its way to a target. It is the fleet's own, and checked all the same.

A dispatcher of another version may have written it, and a message that ended the process would come back to the next
one. The record is made of the fields of `Job` and of `Work`, so that a new one needs nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationError, create_model
from pydantic_core import to_json

from fleet.model.attempt import Hop
from fleet.model.experiment import Assignment
from fleet.model.job import CLOUD_ALLOW, Cloud, Job, Lane
from fleet.model.result import SHADOW_ID, Malformed, Problem, Shadow, Work
from queues.wire.attempt import (
    CarriedAttempt,
    CarriedHop,
    carried_attempt_record,
    carried_hop,
    counted,
    read_carried_attempt,
)
from queues.wire.job import malformed
from queues.wire.near import NearRecord, near_record, read_near
from queues.wire.problems import field_problem
from queues.wire.record import (
    Count,
    JobId,
    TargetName,
    TenantName,
    Version,
    Written,
    broken_rule,
    checks_of,
    fields_in,
    writer,
)
from queues.wire.subjects import MSG_ID

COMPARISON = "shadow"
"""The end of the message id of a comparison."""


_FIRST = ("tier", "deadline_at", "max_cost_usd", "cloud", "own_key", "metadata", "hop", "attempts")
"""Fields that every version has written. A message without one is damaged: the default of `cloud` would let the job
go anywhere, that of `attempts` would have it paid for again."""


def _permitted(providers: list[str] | None) -> Cloud:
    return CLOUD_ALLOW if providers is None else Cloud(frozenset(providers))


def _whole_shadow(values: Any) -> Any:
    """Return the values of a shadow with the fifth, which earlier versions did not write, nor do we where it is no."""
    if not isinstance(values, list):
        return values
    return (*values, False) if len(values) == len(fields(Shadow)) - 1 else tuple(values)


class _Version(Written):
    schema_: Version


WorkRecord = create_model(
    "WorkRecord",
    __base__=_Version,
    **checks_of(
        Job, required=_FIRST, id=JobId, tenant=TenantName, cloud=Annotated[list[str] | None, AfterValidator(_permitted)]
    ),
    **checks_of(
        Work,
        apart=("job",),
        required=_FIRST,
        target=TargetName,
        hop=Count,
        attempts=Annotated[list[CarriedAttempt], AfterValidator(counted)],
        shadow=Annotated[tuple[str, str, int, float, bool], BeforeValidator(_whole_shadow)] | None,
        intake=CarriedHop | None,
        near=NearRecord | None,
        assigned=tuple[str, str, float] | None,
    ),
)

_VALIDATE = WorkRecord.__pydantic_validator__.validate_json
_OF_JOB = tuple(field.name for field in fields(Job))
_write_job = writer(Job, WorkRecord, apart=("cloud",))
_write_work = writer(Work, WorkRecord, apart=("job", "attempts", "shadow", "intake", "near", "assigned"))


def work_message_id(work: Work) -> str:
    """Return one id per job and hop. It marks a comparison as one, even where the body cannot be read."""
    message_id = f"{work.job.tenant}.{work.job.id}.{work.hop}"
    return message_id if work.shadow is None else f"{message_id}.{COMPARISON}"


def encode_work(work: Work) -> bytes:
    """Encode work; the request stays at the top level, nested no deeper than the JSON parser allows for a job."""
    record = _write_job(work.job)
    record.update(_write_work(work))
    providers, shadow = work.job.cloud.providers, work.shadow
    record["cloud"] = None if providers is None else sorted(providers)
    record["shadow"] = None if shadow is None else _carried_shadow(shadow)
    record["attempts"] = [carried_attempt_record(attempt) for attempt in work.attempts]
    if work.intake is not None:
        record["intake"] = carried_hop(work.intake)
    if work.near is not None:
        record["near"] = near_record(work.near)
    if work.assigned is not None:
        record["assigned"] = [getattr(work.assigned, field.name) for field in fields(Assignment)]
    return to_json(record, fallback=dict)


def _carried_shadow(shadow: Shadow) -> list[Any]:
    """Return the values of a shadow; dispatchers of earlier versions know the first four alone."""
    values = [getattr(shadow, field.name) for field in fields(Shadow)]
    return values if shadow.of_diet else values[:-1]


def decode_work(body: bytes, subject: str, headers: Mapping[str, str] | None = None) -> Work | Malformed:
    """Return the work on `work.<target>.<lane>.<tenant>`; Malformed if the bytes are not ours or of another version."""
    read = _read(body, subject)
    if isinstance(read, Work):
        return read
    _, _, lane, tenant = subject.split(".", 3)
    bad = malformed(body, headers, subject, Lane(lane), tenant, read)
    said = (headers or {}).get(MSG_ID, "").endswith(f".{COMPARISON}")
    return replace(bad, is_comparison=said or _is_comparison(fields_in(body)))


def _read(body: bytes, subject: str) -> Work | Problem:
    try:
        record: dict[str, Any] = vars(_VALIDATE(body))
    except ValidationError as error:
        return field_problem(*broken_rule(error))
    if problem := _address_problem(record, subject):
        return problem
    job = Job(**{name: record.pop(name) for name in _OF_JOB})
    del record["schema_"]
    shadow, attempts, intake = record.pop("shadow"), record.pop("attempts"), record.pop("intake")
    assigned = record.pop("assigned")
    return Work(
        job,
        shadow=None if shadow is None else Shadow(*shadow),
        intake=None if intake is None else Hop(*intake),
        assigned=None if assigned is None else Assignment(*assigned),
        attempts=tuple(read_carried_attempt(attempt) for attempt in attempts),
        near=read_near(record.pop("near")),
        **record,
    )


def _address_problem(record: Mapping[str, Any], subject: str) -> Problem | None:
    """Refuse names that differ from the subject's, which the broker let through: outcomes are published under them."""
    _, target, lane, tenant = subject.split(".", 3)
    for name, token in (("target", target), ("lane", lane), ("tenant", tenant)):
        if record[name] != token:
            return field_problem(name, f"must be that of the subject, {token}")
    return None


def _is_comparison(found: Mapping[str, Any]) -> bool:
    """Return whether the message is a comparison. A job taken for one would never be answered."""
    return isinstance(found.get("shadow"), list) and str(found.get("id")).startswith(SHADOW_ID)
