"""What goes through the codec comes out the same."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Features, Judged, Usage
from fleet.model.calibration import Guard, OutputKind, Probe
from fleet.model.job import JOB_ID, Cloud, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Malformed, Problem, Result, Shadow, Status, Work
from fleet.model.submission import Submission
from fleet.model.target import REGION
from queues.wire.dead_letter import MAX_DEAD_BODY_BYTES, decode_dead, encode_dead
from queues.wire.job import MAX_BODY_BYTES, decode_job, encode_submission
from queues.wire.ledger import decode_ledger, encode_ledger
from queues.wire.result import decode_result, encode_result
from queues.wire.subjects import work_subject
from queues.wire.work import decode_work, encode_work

SERVER_MAX_PAYLOAD_BYTES = 1024 * 1024

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
job_ids = st.from_regex(JOB_ID, fullmatch=True)
names = st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True)
times = st.floats(min_value=1, max_value=4e9, allow_subnormal=False)
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(min_value=0, max_value=10**9)
money = st.floats(min_value=1e-9, max_value=1e6)
metadata = st.dictionaries(words, texts, max_size=3)

requests = st.fixed_dictionaries(
    {"messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": words}), min_size=1, max_size=3)},
    optional={
        "temperature": st.floats(min_value=0, max_value=2) | st.integers(min_value=0, max_value=2),
        "seed": st.integers(min_value=-(2**63), max_value=2**63 - 1),
        "stop": words | st.lists(words, min_size=1, max_size=4),
        "logit_bias": st.dictionaries(names, st.floats(min_value=-100, max_value=100), max_size=2),
        "user": texts,
    },
)

jobs = st.builds(
    Job,
    id=job_ids,
    tenant=names,
    lane=st.sampled_from(Lane),
    task=names,
    plan=st.sampled_from(Plan),
    request=requests,
    submitted_at=times,
    tier=st.none() | st.sampled_from(Tier),
    deadline_at=st.none() | times,
    max_cost_usd=st.none() | money,
    cloud=st.builds(Cloud, st.none() | st.frozensets(names, max_size=3)),
    own_key=st.none() | st.from_regex(r"[a-z0-9_-]{1,20}/[A-Za-z0-9-]{1,20}", fullmatch=True),
    metadata=metadata,
    above=st.none() | names,
    regions=st.none() | st.lists(st.from_regex(REGION, fullmatch=True), min_size=1, max_size=3).map(tuple),
)
details = st.just(0) | counts
usages = st.builds(Usage, counts, counts, details, details, details)
features = st.builds(Features, numbers, numbers, numbers, numbers, numbers, counts, numbers, numbers)
messages = st.fixed_dictionaries({"role": st.just("assistant"), "content": st.none() | texts})
answers = st.builds(Answer, messages, names, usages, names, st.none() | features)
failures = st.builds(Failure, st.sampled_from(FailureKind), texts, st.none() | times)
judgements = st.builds(
    Judged,
    threshold=st.floats(min_value=0, max_value=1) | st.just(math.inf),
    kind=st.sampled_from(OutputKind),
    calibration=st.none() | names,
    guard=st.none() | st.sampled_from(Guard),
    withdrawn=st.booleans(),
    probe=st.none() | st.sampled_from(Probe),
)
attempts = st.builds(
    Attempt,
    number=st.integers(min_value=1, max_value=9),
    target=names,
    reason=st.sampled_from(Reason),
    started_at=times,
    ended_at=times,
    outcome=answers | failures,
    confidence=st.none() | st.floats(min_value=0, max_value=1),
    cost_usd=money,
    judged=st.none() | judgements,
    probe=st.none() | st.sampled_from(Probe),
)
shadows = st.builds(Shadow, job_ids, names, counts, st.floats(min_value=0, max_value=1))
histories = st.lists(attempts, max_size=3).map(
    lambda tried: tuple(replace(attempt, number=number) for number, attempt in enumerate(tried, 1))
)
problems = st.builds(Problem, texts, st.none() | names, st.none() | texts)


@given(jobs)
def test_a_submitted_job_arrives_unchanged(job: Job) -> None:
    providers = job.cloud.providers
    sent = Submission(
        id=job.id,
        task=job.task,
        request=job.request,
        lane=job.lane,
        plan=job.plan,
        tier=job.tier,
        deadline_at=job.deadline_at,
        max_cost_usd=job.max_cost_usd,
        cloud="allow" if providers is None else sorted(providers),
        own_key=job.own_key,
        metadata=job.metadata,
        above=job.above,
        regions=job.regions,
    )

    body = encode_submission(sent, job.tenant)

    assert decode_job(body, None, f"jobs.{job.lane}.{job.tenant}", job.submitted_at) == job


@given(st.builds(Work, jobs, names, st.sampled_from(Reason), counts, histories, st.none() | shadows))
def test_work_arrives_unchanged(work: Work) -> None:
    assert decode_work(encode_work(work), work_subject(work.target, work.job.lane, work.job.tenant)) == work


results = st.builds(
    Result,
    job_id=job_ids,
    tenant=names,
    status=st.sampled_from(Status),
    reason=st.sampled_from(Reason),
    finished_at=times,
    task=st.none() | names,
    submitted_at=st.none() | times,
    target=st.none() | names,
    confidence=st.none() | st.floats(min_value=0, max_value=1),
    attempts=histories,
    problem=st.none() | problems,
    metadata=metadata,
)


@given(results)
def test_a_result_without_an_answer_is_read_as_written_short_of_what_its_attempts_said(result: Result) -> None:
    read = decode_result(encode_result(result))

    assert read == replace(result, attempts=tuple(_public(attempt) for attempt in result.attempts))
    assert read.cost_usd == result.cost_usd


@given(results, answers, attempts)
def test_the_delivered_answer_is_read_as_written_with_the_tokens_it_took_itself(
    result: Result, answer: Answer, attempt: Attempt
) -> None:
    delivering = replace(attempt, outcome=answer)
    delivered = replace(result, answer=answer, target=delivering.target, attempts=(*result.attempts, delivering))

    assert decode_result(encode_result(delivered)).answer == replace(answer, features=None)


@given(results, answers)
def test_an_answer_that_took_no_attempt_is_read_as_written(result: Result, answer: Answer) -> None:
    free = replace(result, answer=answer, attempts=())

    assert decode_result(encode_result(free)) == replace(free, answer=replace(answer, features=None))


@given(results)
def test_a_result_counts_the_tokens_of_all_attempts(result: Result) -> None:
    usage = json.loads(encode_result(result))["usage"]
    spent = [attempt.outcome.usage for attempt in result.attempts if isinstance(attempt.outcome, Answer)]

    totals = {field.name: sum(getattr(each, field.name) for each in spent) for field in fields(Usage)}
    assert usage == {
        name: total for name, total in totals.items() if total or name in ("input_tokens", "output_tokens")
    }


ledger_entries = st.builds(
    LedgerEntry,
    job_id=job_ids,
    tenant=names,
    lane=st.sampled_from(Lane),
    at=times,
    reason=st.sampled_from(Reason),
    task=st.none() | names,
    plan=st.none() | names,
    status=st.none() | st.sampled_from(Status),
    attempt=st.none() | attempts,
)


@given(ledger_entries)
def test_a_ledger_entry_is_read_as_written_short_of_what_was_said(entry: LedgerEntry) -> None:
    expected = entry if entry.attempt is None else replace(entry, attempt=_public(entry.attempt))

    assert decode_ledger(encode_ledger(entry)) == expected


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
def test_a_log_probability_that_is_no_number_is_none_in_the_accounts_either(odd: float) -> None:
    said = Answer({}, "stop", Usage(1, 1), "m", Features(odd, -1.0, odd, -1.0, -1.0, 1, 0.0, 0.0))
    attempt = Attempt(1, "llama-8b", Reason.ROUTED, 1.0, 2.0, said)
    entry = LedgerEntry("job-0123456789ab", "acme", Lane.BULK, 2.0, Reason.CONFIDENT, attempt=attempt)

    read = decode_ledger(encode_ledger(entry)).attempt

    assert read is not None and isinstance(read.outcome, Answer) and read.outcome.features is not None
    assert math.isnan(read.outcome.features.min) and read.outcome.features.mean == -1.0


def test_no_answer_reaches_the_ledger() -> None:
    said = Answer({"role": "assistant", "content": "a private word"}, "stop", Usage(1, 1), "m")
    attempt = Attempt(1, "llama-8b", Reason.ROUTED, 1.0, 2.0, said)
    entry = LedgerEntry("job-0123456789ab", "acme", Lane.BULK, 2.0, Reason.CONFIDENT, attempt=attempt)

    assert b"private" not in encode_ledger(entry)


@given(st.builds(DeadLetter, names, job_ids, st.sampled_from(Reason), problems, st.binary(max_size=200), times))
def test_a_dead_letter_keeps_the_message_whole(letter: DeadLetter) -> None:
    assert decode_dead(encode_dead(letter)) == letter


@pytest.mark.parametrize("byte", [b"a", b'"', b"\x01", b"\xff"])
def test_a_dead_letter_of_any_size_fits_into_a_message(byte: bytes) -> None:
    body = byte * 2 * MAX_DEAD_BODY_BYTES
    written = encode_dead(DeadLetter("acme", "job-0123456789ab", Reason.INVALID, Problem("body: too long"), body, 1.0))

    assert len(written) < SERVER_MAX_PAYLOAD_BYTES
    assert json.loads(written)["body_bytes"] == len(body)
    assert decode_dead(written).body == body[:MAX_DEAD_BODY_BYTES]


def test_a_dead_letter_cut_inside_a_character_is_still_written() -> None:
    body = b"a" + "é".encode() * MAX_DEAD_BODY_BYTES
    letter = DeadLetter("acme", "job-0123456789ab", Reason.INVALID, Problem("body: too long"), body, 1.0)

    assert decode_dead(encode_dead(letter)).body == body[:MAX_DEAD_BODY_BYTES]


def _public(attempt: Attempt) -> Attempt:
    """What readers outside learn of an attempt."""
    match attempt.outcome:
        case Answer(_, finish_reason, usage, model, features):
            return replace(attempt, outcome=Answer({}, finish_reason, usage, model, features))
        case Failure(kind, detail):
            return replace(attempt, outcome=Failure(kind, detail))


@given(
    st.binary(max_size=300) | st.recursive(st.none() | counts | texts, st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_bytes_break_a_reader(body: bytes) -> None:
    assert isinstance(decode_job(body, None, "jobs.bulk.acme", 1.0), Malformed)
    assert isinstance(decode_work(body, "work.t.bulk.acme"), Malformed)
    for decode in (decode_result, decode_ledger, decode_dead):
        with pytest.raises(ValueError, match=r"."):
            decode(body)


@given(st.binary(max_size=8), st.integers(min_value=0))
def test_no_flipped_bytes_in_work_break_a_reader(noise: bytes, position: int) -> None:
    job = Job("job-0123456789ab", "acme", Lane.BULK, "nudge", Plan.PAID, {"messages": []}, 1.0)
    attempt = Attempt(1, "t", Reason.ROUTED, 1.0, 2.0, Failure(FailureKind.TIMEOUT, "late"))
    body = bytearray(encode_work(Work(job, "t", Reason.ROUTED, 0, (attempt,))))
    position %= len(body)
    body[position : position + len(noise)] = noise

    assert isinstance(decode_work(bytes(body), "work.t.bulk.acme"), Work | Malformed)


def good(**changes: Any) -> bytes:
    request = {"messages": [{"role": "user", "content": "Remind me."}]}
    return json.dumps({"id": "job-0123456789ab", "task": "nudge", "request": request, **changes}).encode()


@pytest.mark.parametrize(
    "deadline", [1_900_000_000, 1_900_000_000.0, "2030-03-17T17:46:40Z", "2030-03-17T19:46:40+02:00"]
)
def test_a_deadline_means_the_same_moment_however_it_is_written(deadline: float | str) -> None:
    read = decode_job(good(deadline=deadline), None, "jobs.bulk.acme", 1.0)

    assert isinstance(read, Job)
    assert read.deadline_at == datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("cloud", "permits_groq"), [("allow", True), ("deny", False), (["groq"], True), (["openai"], False), ([], False)]
)
def test_cloud_says_which_providers_a_job_may_reach(cloud: str | list[str], permits_groq: bool) -> None:
    read = decode_job(good(cloud=cloud), None, "jobs.bulk.acme", 1.0)

    assert isinstance(read, Job)
    assert read.cloud.permits("groq") is permits_groq


FUNCTION = {
    "name": "book",
    "description": "Books.",
    "parameters": {"type": "object", "x": [1, 2.5]},
    "strict": True,
}
CALL = {"id": "call-1", "type": "function", "function": {"name": "book", "arguments": "{}"}}
PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"file_id": "file-1"}},
]
EVERY_FIELD = {
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": PARTS, "name": "Ada"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "done", "tool_call_id": "call-1"},
    ],
    "model": "any",
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "temperature": 0,
    "top_p": 1,
    "n": 1,
    "stream": False,
    "stop": ["\n"],
    "seed": 7,
    "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "book"}},
    "parallel_tool_calls": False,
    "frequency_penalty": -2,
    "presence_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 5,
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["text"],
    "user": "u-1",
    "safety_identifier": "s-1",
    "prompt_cache_key": "p-1",
    "metadata": {"a": "b"},
    "store": False,
    "service_tier": "flex",
}


def test_a_request_with_every_known_field_is_carried_unchanged() -> None:
    read = decode_job(good(request=EVERY_FIELD), None, "jobs.bulk.acme", 1.0)

    assert isinstance(read, Job)
    assert read.request == EVERY_FIELD
    assert list(read.request) == list(EVERY_FIELD)


def test_a_refusal_in_the_history_is_carried_as_text() -> None:
    turn = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    read = decode_job(good(request={"messages": [turn]}), None, "jobs.bulk.acme", 1.0)

    assert isinstance(read, Job)
    assert read.request["messages"] == [{"role": "assistant", "content": [{"type": "text", "text": "No."}]}]


def test_the_deepest_request_that_is_accepted_passes_through_work_as_well() -> None:
    """The JSON parser has a limit of nesting; a job just below it must not become work just above it."""
    read: Job | Malformed | None = None
    for depth in range(1, 300):
        parameters: dict[str, Any] = {}
        for _ in range(depth):
            parameters = {"a": parameters}
        tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
        request = {"messages": [{"role": "user", "content": "Remind me."}], "tools": tools}
        latest = decode_job(good(request=request), None, "jobs.bulk.acme", 1.0)
        if isinstance(latest, Malformed):
            break
        read = latest

    assert isinstance(read, Job)
    work = Work(read, "t", Reason.ROUTED)
    assert decode_work(encode_work(work), "work.t.bulk.acme") == work


def test_the_longest_job_is_accepted_and_one_byte_more_is_not() -> None:
    padding = MAX_BODY_BYTES - len(good(request={"messages": [{"role": "user", "content": ""}]}))
    longest, too_long = (
        good(request={"messages": [{"role": "user", "content": "x" * count}]}) for count in (padding, padding + 1)
    )

    assert isinstance(decode_job(longest, None, "jobs.bulk.acme", 1.0), Job)
    assert isinstance(decode_job(too_long, None, "jobs.bulk.acme", 1.0), Malformed)
