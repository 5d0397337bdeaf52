"""LEDGER: a line of accounts for each attempt, and for the end of a job that never ran."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_core import to_json

from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from queues.wire.attempt import AttemptRecord, attempt_record, read_attempt
from queues.wire.record import Version, Written, read, writer


class LedgerEntryRecord(Written):
    """A line of accounts on `ledger.<tenant>`: an attempt, or the end of a job that never ran. No prompt, no answer."""

    schema_: Version
    job_id: Annotated[str, Field(alias="id")]
    tenant: str
    lane: Lane
    task: str | None
    plan: str | None
    at: float
    reason: Reason
    status: Status | None
    attempt: AttemptRecord | None


_write_entry = writer(LedgerEntry, LedgerEntryRecord, apart=("attempt",))


def encode_ledger(entry: LedgerEntry) -> bytes:
    record = _write_entry(entry)
    record["attempt"] = None if entry.attempt is None else attempt_record(entry.attempt)
    return to_json(record, inf_nan_mode="null")


def decode_ledger(body: bytes) -> LedgerEntry:
    """Return the ledger entry in these bytes. Raises: ValueError if they hold none."""
    record: LedgerEntryRecord = read(LedgerEntryRecord, body, "ledger entry")
    held = vars(record)
    del held["schema_"]
    held["attempt"] = None if record.attempt is None else read_attempt(record.attempt)
    return LedgerEntry(**held)
