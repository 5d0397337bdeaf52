"""Valid messages of every kind, from which mutation starts."""

from __future__ import annotations

import json
from typing import Any

from fleet.model.attempt import Answer, Attempt, EngineTimes, Failure, FailureKind, Features, Hop, Judged, Usage
from fleet.model.calibration import (
    Calibration,
    CalibrationKey,
    Fit,
    OutputKind,
    Probe,
    Scorer,
    Threshold,
    ThresholdMode,
)
from fleet.model.feedback import Feedback, Verdict
from fleet.model.job import CLOUD_DENY, Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Problem, Result, Shadow, Status, Work
from queues.wire.calibration import encode_calibration, encode_document
from queues.wire.dead_letter import encode_dead
from queues.wire.feedback import encode_feedback
from queues.wire.ledger import encode_ledger
from queues.wire.result import encode_result
from queues.wire.work import encode_work

TENANT = "acme"
LANE = Lane.BULK
TARGET = "llama-8b"
ID = "job-0123456789ab"

FUNCTION = {"name": "book", "parameters": {"type": "object", "n": [1, 2.5, -3e10, None, True]}, "strict": True}
CALL = {"id": "call-1", "type": "function", "function": {"name": "book", "arguments": "{}"}}
PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1"}},
]
PLAIN: dict[str, Any] = {"messages": [{"role": "user", "content": "All is well."}]}
RICH: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": PARTS, "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "done", "tool_call_id": "call-1"},
    ],
    "max_tokens": 5,
    "temperature": 0.5,
    "stop": ["\n"],
    "seed": 7,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "book"}},
    "logit_bias": {"50256": -100},
    "reasoning_effort": "low",
    "metadata": {"a": "b"},
}


def _envelope(**fields: Any) -> bytes:
    return json.dumps({"id": ID, "task": "classify.sentiment", **fields}).encode()


def jobs() -> list[bytes]:
    return [
        _envelope(request=PLAIN),
        _envelope(request=RICH, schema=1, tenant=TENANT, lane="bulk", tier="simple", own_key="groq/k-1"),
        _envelope(request=PLAIN, deadline="2030-01-31T12:00:00Z", cloud=["groq", "openai"], metadata={"user": "u-1"}),
        _envelope(request=PLAIN, deadline=1_900_000_000, max_cost_usd=0.01, cloud="deny", above="llama-8b"),
        _envelope(request=PLAIN, regions=["eu-central-1", "us"], person="p-17"),
    ]


def _job(**changes: Any) -> Job:
    fields: dict[str, Any] = {"request": PLAIN, **changes}
    return Job(ID, TENANT, LANE, "classify.sentiment", Plan.PAID, submitted_at=1.0, **fields)


FEATURES = Features(-0.5, -0.1, -0.2, -0.2, -0.1, 3, 1.0, 0.1)
JUDGED = Judged(0.8, OutputKind.SHORT, "v1", probe=Probe.P_TRUE)
TIMES = EngineTimes(1.25, 0.25, 0.1, 0.1, 0.5)
ANSWER = Answer({"role": "assistant", "content": "positive"}, "stop", Usage(10, 2), "m", FEATURES, engine=TIMES)
HOP = Hop(0.5, 0.75, 1, "0123456789abcdef", 8)
ATTEMPTS = (
    Attempt(
        1,
        TARGET,
        Reason.ROUTED,
        1.0,
        2.0,
        ANSWER,
        0.4,
        0.01,
        JUDGED,
        provider="fleet",
        requested_model="m",
        hop=HOP,
    ),
    Attempt(2, "mixtral-8x7b", Reason.LOW_CONFIDENCE, 2.0, 3.0, Failure(FailureKind.TIMEOUT, "late", 2.0)),
)
PROBLEM = Problem("body: must be JSON", "body", "must be JSON")


def work() -> list[bytes]:
    rich = _job(request=RICH, tier=Tier.SIMPLE, cloud=CLOUD_DENY, deadline_at=1.9e9, metadata={"a": "b"})
    shadow = Shadow(ID, TARGET, 1, 0.1)
    return [
        encode_work(Work(_job(), TARGET, Reason.ROUTED)),
        encode_work(Work(rich, TARGET, Reason.LOW_CONFIDENCE, 2, ATTEMPTS, intake=Hop(0.5, 0.6))),
        encode_work(
            Work(_job(cloud=Cloud(frozenset({"groq"})), regions=("us",)), TARGET, Reason.SHADOW, 1, ATTEMPTS, shadow)
        ),
    ]


def results() -> list[bytes]:
    good = Result(
        ID, TENANT, Status.SUCCEEDED, Reason.CONFIDENT, 3.0, "t", 1.0, ANSWER, TARGET, 0.9, ATTEMPTS, None, {"a": "b"}
    )
    bad = Result(ID, TENANT, Status.REJECTED, Reason.INVALID, 3.0, problem=PROBLEM)
    return [encode_result(good), encode_result(bad), b'{"stream": "RESULTS", "seq": 17}']


def ledger() -> list[bytes]:
    entry = LedgerEntry(ID, TENANT, LANE, 3.0, Reason.LOW_CONFIDENCE, "t", "paid", attempt=ATTEMPTS[0])
    end = LedgerEntry(ID, TENANT, LANE, 3.0, Reason.INVALID, status=Status.REJECTED)
    return [encode_ledger(entry), encode_ledger(end)]


def dead() -> list[bytes]:
    return [
        encode_dead(DeadLetter(TENANT, ID, Reason.INVALID, PROBLEM, body, 1.0)) for body in (b"remind me", b"\xff\xfe")
    ]


def feedback() -> list[bytes]:
    said = Feedback(ID, TENANT, Verdict.GOOD, 1.0, id="feedback-0123456789")
    edited = Feedback(ID, TENANT, Verdict.EDITED, 1.0, text="Better.", changed=True, id="feedback-0123456789")
    return [encode_feedback(said), encode_feedback(edited)]


def _calibrations() -> list[Calibration]:
    scorer = Scorer(Fit.ISOTONIC, ("mean_logit",), (1.5,), 0.1, ((0.1, 0.2), (0.5, 0.9)))
    probed = Scorer(Fit.LOGISTIC, ("mean_logit", "p_true_logit"), (1.0, 1.0), 0.0)
    threshold = Threshold(ThresholdMode.GUARANTEE, 0.8, 0.9, 0.05, 0.1)
    plain = Calibration(CalibrationKey(TARGET), "m", "main", "raw_logprobs", "v1", 1.0, 500, scorer)
    full = Calibration(
        CalibrationKey(TARGET, "classify.*", "short"), "m", "main", "raw_logprobs", "v2", 2.0, 500, scorer,
        strong="llama-70b", threshold=threshold, edges=tuple(n / 10 for n in range(1, 10)), brier=0.1, ece=0.1,
        probe=Probe.P_TRUE, probe_scorer=probed, grey=(0.4, 0.6), good=0.9,
    )  # fmt: skip
    return [plain, full]


def calibrations() -> list[bytes]:
    return [encode_calibration(each) for each in _calibrations()]


def documents() -> list[bytes]:
    return [encode_document(_calibrations()).encode()]
