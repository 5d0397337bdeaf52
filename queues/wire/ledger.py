"""LEDGER: a line of accounts for each attempt, and for the end of a job that did not end with its last one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_core import to_json

from fleet.model.experiment import Assignment
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from queues.wire.attempt import (
    HopRecord,
    LedgerAttemptRecord,
    hop_record,
    ledger_attempt_record,
    read_hop,
    read_ledger_attempt,
)
from queues.wire.record import Version, Written, read, writer


class AssignedRecord(Written):
    """The arm of an experiment that a job is in, and the probability with which it was drawn."""

    experiment: str
    arm: str
    propensity: float


class LedgerEntryRecord(Written):
    """A line of accounts on `ledger.<tenant>`: an attempt, or the end of a job apart from one. No prompt, no answer.

    `submitted_at` is when the broker stored the job, `intake` how its message was taken in. `traceparent` is the
    publisher's, and `person` whom the publisher said the job is about. The four are there where they are known.
    `target` is whose answer the job got, on an end without an attempt where there is an answer. `assigned` is there
    where the job is in an experiment, on each of its lines.
    """

    schema_: Version
    job_id: Annotated[str, Field(alias="id")]
    tenant: str
    lane: Lane
    task: str | None
    plan: str | None
    at: float
    reason: Reason
    status: Status | None
    attempt: LedgerAttemptRecord | None
    submitted_at: float | None = None
    traceparent: str | None = None
    intake: HopRecord | None = None
    person: str | None = None
    target: str | None = None
    assigned: AssignedRecord | None = None


_WHERE_KNOWN = ("submitted_at", "traceparent", "person", "target")
_write_entry = writer(LedgerEntry, LedgerEntryRecord, apart=("attempt", "intake", "assigned", *_WHERE_KNOWN))
_write_assigned = writer(Assignment, AssignedRecord)


def encode_ledger(entry: LedgerEntry) -> bytes:
    record = _write_entry(entry)
    record["attempt"] = None if entry.attempt is None else ledger_attempt_record(entry.attempt)
    if entry.intake is not None:
        record["intake"] = hop_record(entry.intake)
    if entry.assigned is not None:
        record["assigned"] = _write_assigned(entry.assigned)
    for name in _WHERE_KNOWN:
        if (value := getattr(entry, name)) is not None:
            record[name] = value
    return to_json(record, inf_nan_mode="null")


def decode_ledger(body: bytes) -> LedgerEntry:
    """Return the ledger entry in these bytes. Raises: ValueError if they hold none."""
    record: LedgerEntryRecord = read(LedgerEntryRecord, body, "ledger entry")
    held = vars(record)
    del held["schema_"]
    held["attempt"] = None if record.attempt is None else read_ledger_attempt(record.attempt)
    held["intake"] = read_hop(record.intake)
    held["assigned"] = None if record.assigned is None else Assignment(**vars(record.assigned))
    return LedgerEntry(**held)
