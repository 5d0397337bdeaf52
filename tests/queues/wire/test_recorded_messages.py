"""Messages of schema 1 as version 0.2 published them mean the same to this version: those that wait in a stream, and
those of services that nobody upgrades. The files are never written anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Judged, Usage
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Problem, Result, Shadow, Status, Work
from queues.wire.dead_letter import decode_dead
from queues.wire.feedback import decode_feedback
from queues.wire.job import decode_job
from queues.wire.ledger import decode_ledger
from queues.wire.result import Receipt, decode_result, encode_result, receipt_in
from queues.wire.work import decode_work

RECORDED = Path(__file__).parent / "recorded" / "v0.2"
JOB_ID, MESSAGES = "job-0123456789ab", [{"role": "user", "content": "Is it good?"}]

JOB = Job(
    id=JOB_ID,
    tenant="acme",
    lane=Lane.BULK,
    task="classify.sentiment",
    plan=Plan.OWN_KEY,
    request={"messages": MESSAGES, "max_tokens": 5},
    submitted_at=1.5,
    tier=Tier.COMPLEX,
    deadline_at=1900000000.0,
    max_cost_usd=0.25,
    cloud=Cloud(frozenset({"groq", "openai"})),
    own_key="groq/main",
    metadata={"a": "b"},
    above="llama-8b",
    not_before_at=1800000000.5,
)
SAID = Answer(
    {"role": "assistant", "content": "positive", "reasoning": "hm"},
    "stop",
    Usage(10, 2),
    "m",
    Features(-0.5, -0.1, -0.2, -0.2, -0.1, 3, 1.0, 0.1),
)
ATTEMPTS = (
    Attempt(
        number=1,
        target="llama-8b",
        reason=Reason.ROUTED,
        started_at=2.0,
        ended_at=3.0,
        outcome=SAID,
        confidence=0.4,
        cost_usd=0.01,
        judged=Judged(math.inf, OutputKind.SHORT, "v1", Guard.NO_BETTER_THAN_MIXING, True, Probe.P_TRUE, True),
        probe=Probe.SAMPLE,
        repeated=True,
    ),
    Attempt(2, "groq-8b", Reason.LOW_CONFIDENCE, 3.0, 4.0, Failure(FailureKind.TIMEOUT, "late", 2.0)),
)
HEARD = Answer({}, SAID.finish_reason, SAID.usage, SAID.model, SAID.features)
TOLD = (
    Attempt(1, "llama-8b", Reason.ROUTED, 2.0, 3.0, HEARD, 0.4, 0.01, ATTEMPTS[0].judged, Probe.SAMPLE, True),
    Attempt(2, "groq-8b", Reason.LOW_CONFIDENCE, 3.0, 4.0, Failure(FailureKind.TIMEOUT, "late")),
)
DELIVERED = Answer(SAID.message, SAID.finish_reason, SAID.usage, SAID.model)
PROBLEM = Problem("task: is required", "task", "is required")
RESULT = Result(
    job_id=JOB_ID,
    tenant="acme",
    status=Status.BEST_EFFORT,
    reason=Reason.LADDER_EXHAUSTED,
    finished_at=5.0,
    task="classify.sentiment",
    submitted_at=1.5,
    answer=DELIVERED,
    target="llama-8b",
    confidence=0.4,
    attempts=TOLD,
    metadata={"a": "b"},
)
REJECTED = Result(JOB_ID, "acme", Status.REJECTED, Reason.INVALID, 5.0, problem=PROBLEM)
LINE = LedgerEntry(
    JOB_ID, "acme", Lane.BULK, 5.0, Reason.LOW_CONFIDENCE, "classify.sentiment", "paid", Status.FAILED, TOLD[0]
)
FEEDBACK = Feedback(
    JOB_ID, "acme", Verdict.BAD, 1.5, Witness.SHADOW, "a remark", "llama-8b", 0.25, id="feedback-0123456789"
)
SHADOW = Shadow(JOB_ID, "llama-70b", 1, 0.25)

READ: dict[str, tuple[Callable[[bytes], Any], Any]] = {
    "job": (lambda body: decode_job(body, None, "jobs.bulk.acme", 1.5), JOB),
    "work": (
        lambda body: decode_work(body, "work.groq-8b.bulk.acme"),
        Work(JOB, "groq-8b", Reason.RETRY, 2, ATTEMPTS, SHADOW),
    ),
    "result": (decode_result, RESULT),
    "rejected": (decode_result, REJECTED),
    "claim": (receipt_in, Receipt("results-large", "acme.job.0", 9, 1, "SHA-256=x")),
    "ledger": (decode_ledger, LINE),
    "dead": (decode_dead, DeadLetter("acme", JOB_ID, Reason.INVALID, PROBLEM, b"\xff{", 5.0, Lane.BULK)),
    "feedback": (lambda body: decode_feedback(body, "feedback.acme.shadow", 1.5), FEEDBACK),
}


@pytest.mark.parametrize("name", READ)
def test_a_message_published_before_means_the_same(name: str) -> None:
    read, meant = READ[name]

    assert read((RECORDED / f"{name}.json").read_bytes()) == meant


@pytest.mark.parametrize("name", ["model", "finish_reason"])
def test_a_result_whose_backend_named_no_model_or_end_is_read_all_the_same(name: str) -> None:
    written = replace(RESULT, answer=replace(DELIVERED, **{name: None}))
    read = decode_result(encode_result(replace(written, attempts=(replace(TOLD[0], outcome=written.answer),))))
    assert read.answer == replace(DELIVERED, **{name: ""})
