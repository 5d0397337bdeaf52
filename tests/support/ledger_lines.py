"""Lines of accounts as their stream hands them out, made from entries as a dispatcher sends them."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Outcome, Usage
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, LedgerLine, Status
from queues.wire.letters import message_of
from queues.wire.subjects import MSG_ID

NOON = 1_772_366_400.0
"""2026-03-01 12:00:00 UTC."""

ANSWER = Answer({}, "stop", Usage(100, 20, 60, 0, 5), "llama")
FAILURE = Failure(FailureKind.TIMEOUT, "too slow")


def job_id(number: int) -> str:
    return f"job-{number:012d}"


def attempt(number: int = 1, target: str = "llama-8b", outcome: Outcome = ANSWER, cost_usd: float = 0.001) -> Attempt:
    provider = "openai" if target == "gpt-4o" else "fleet"
    return Attempt(
        number, target, Reason.ROUTED, NOON, NOON + 0.5, outcome, confidence=0.5, cost_usd=cost_usd, provider=provider
    )


def entry(
    job: int = 1,
    tried: Attempt | None = None,
    status: Status | None = Status.SUCCEEDED,
    tenant: str = "acme",
    reason: Reason = Reason.CONFIDENT,
) -> LedgerEntry:
    """Return the line of one attempt, by default the only one of a job that ended well."""
    tried = tried or attempt()
    return LedgerEntry(job_id(job), tenant, Lane.BULK, NOON, reason, "classify", "paid", status, tried)


def line_of(sequence: int, booked: LedgerEntry, stored_at: float = NOON) -> LedgerLine:
    message = message_of(booked)
    assert message.headers is not None
    return LedgerLine(sequence, stored_at, booked.tenant, message.headers[MSG_ID], message.data)


def lines_of(entries: Iterable[LedgerEntry], first: int = 1, stored_at: float = NOON) -> list[LedgerLine]:
    return [line_of(sequence, booked, stored_at) for sequence, booked in enumerate(entries, first)]
