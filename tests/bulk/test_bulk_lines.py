"""A line of a bulk file is a job whose id the same run, number and bytes give again, or a named mistake."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.bulk.lines import custom_id_of, json_object, line_job_id, read_line, run_key
from fleet.model.chat import without_nulls
from fleet.model.errors import InvalidJob
from fleet.model.job import JOB_ID, TENANT, Lane, Plan, Tier

RUN = run_key("acme", "run")
HELLO = [{"role": "user", "content": "hello"}]
BATCH = {"custom_id": "row-7", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": HELLO}}


def line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def test_an_envelope_is_a_bulk_job() -> None:
    row = read_line(RUN, 3, line({"task": "classify.intent", "messages": HELLO, "custom_id": "a"}), now=100.0)
    assert (row.number, row.custom_id) == (3, "a")
    assert (row.submission.task, row.submission.lane) == ("classify.intent", Lane.BULK)
    assert row.submission.request == {"messages": HELLO}


def test_an_envelope_says_how_it_may_be_answered() -> None:
    content = {
        "task": "chat",
        "request": {"messages": HELLO, "temperature": 0},
        "plan": "free",
        "tier": "medium",
        "deadline_seconds": 60,
        "max_cost_usd": 0.01,
        "cloud": ["groq"],
        "metadata": {"campaign": "spring"},
    }
    job = read_line(RUN, 1, line(content), now=100.0).submission
    assert (job.plan, job.tier, job.deadline_at, job.max_cost_usd) == (Plan.FREE, Tier.MEDIUM, 160.0, 0.01)
    assert (job.request, job.cloud, job.metadata) == (content["request"], ["groq"], {"campaign": "spring"})


@pytest.mark.parametrize(
    "name", ["plan", "tier", "cloud", "metadata", "own_key", "deadline_seconds", "url", "priority"]
)
def test_a_field_that_is_null_is_absent(name: str) -> None:
    plain = {"task": "chat", "messages": HELLO, "id": "a"}
    row = read_line(RUN, 1, line({**plain, name: None, "custom_id": None}), now=100.0)
    assert row.custom_id == custom_id_of(1, line({**plain, "custom_id": None})) == "a"
    again = read_line(RUN, 1, line(plain), now=100.0)
    assert replace(row.submission, id="") == replace(again.submission, id="")


@pytest.mark.parametrize(
    ("said", "task", "metadata"),
    [
        ({}, "chat", {}),
        ({"metadata": None}, "chat", {}),
        ({"metadata": {"task": "plan.schedule"}}, "plan.schedule", {}),
        ({"metadata": {"task": "plan.schedule", "user": "u-17"}}, "plan.schedule", {"user": "u-17"}),
    ],
)
def test_an_openai_batch_line_is_a_bulk_job_whose_metadata_is_the_jobs(
    said: dict[str, Any], task: str, metadata: dict[str, str]
) -> None:
    body = {"model": "auto", "messages": HELLO, "service_tier": "flex"}
    row = read_line(RUN, 1, line(BATCH | {"body": body | said}), now=0.0)
    assert (row.custom_id, row.submission.task, row.submission.lane) == ("row-7", task, Lane.BULK)
    assert (row.submission.request, row.submission.metadata) == (body, metadata)


@pytest.mark.parametrize(
    ("ids", "custom_id"),
    [({}, "line-9"), ({"id": 42}, "42"), ({"id": "b", "custom_id": "a"}, "a")],
)
def test_a_line_is_called_by_its_own_id_or_by_its_number(ids: dict[str, Any], custom_id: str) -> None:
    raw = line({"task": "chat", "messages": HELLO, **ids})
    assert read_line(RUN, 9, raw, now=0.0).custom_id == custom_id


@pytest.mark.parametrize(
    ("raw", "field", "rule"),
    [
        (b"{oops\n", "line", "must be JSON"),
        (b"\xff\xfe\n", "line", "must be JSON"),
        (b"[" * 100_000, "line", "must be JSON"),
        (b"[1, 2]\n", "line", "JSON object"),
        (line({"messages": HELLO}), "task", "is required"),
        (line({"task": "chat"}), "request", "either messages or a whole request"),
        (line({"task": "chat", "messages": HELLO, "request": {}}), "request", "either messages or a whole request"),
        (line({"task": "chat", "messages": HELLO, "priority": 1}), "priority", "is not a known field"),
        (line({"task": "chat", "messages": HELLO, "temperature": 0}), "temperature", "it stands in `request`"),
        (line({"task": "chat", "messages": HELLO, "tier": "tiny"}), "tier", "must be 'simple'"),
        (
            line({"task": "chat", "messages": HELLO, "deadline_seconds": -1}),
            "deadline_seconds",
            "must be greater than 0",
        ),
        (line(BATCH | {"method": "GET"}), "method", "POST"),
        (line(BATCH | {"url": "/v1/embeddings"}), "url", "/v1/chat/completions"),
        (line(BATCH | {"body": "hello"}), "body", "dictionary"),
        (line(BATCH | {"body": {"messages": HELLO, "metadata": {"task": 5}}}), "body.metadata.task", "text"),
        (line(BATCH | {"body": {"messages": HELLO, "metadata": ["task"]}}), "body.metadata", "object"),
        (line(BATCH | {"custom_id": ""}), "custom_id", "must have at least 1"),
        (line(BATCH | {"custom_id": None}), "custom_id", "is required"),
        (line(BATCH | {"custom_id": [1]}), "custom_id", "string"),
    ],
)
def test_a_line_that_is_no_job_is_named_with_the_rule_it_breaks(raw: bytes, field: str, rule: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        read_line(RUN, 1, raw, now=0.0)
    assert raised.value.field == field
    assert rule in raised.value.rule


@pytest.mark.parametrize(
    ("raw", "custom_id"),
    [(b"{oops", "line-5"), (line({"custom_id": "a"}), "a"), (line({"id": 7}), "7"), (line({"id": []}), "line-5")],
)
def test_even_a_line_that_is_no_job_keeps_its_own_id_where_it_can_be_read(raw: bytes, custom_id: str) -> None:
    assert custom_id_of(5, raw) == custom_id


TENANTS = st.from_regex(TENANT, fullmatch=True)


@given(TENANTS, st.text(), st.integers(min_value=1), st.binary())
def test_a_job_id_fits_a_subject_and_is_the_same_on_a_repeat(tenant: str, run: str, number: int, raw: bytes) -> None:
    job_id = line_job_id(run_key(tenant, run), number, raw)
    assert JOB_ID.fullmatch(job_id)
    assert line_job_id(run_key(tenant, run), number, raw.strip() + b"\r\n") == job_id


LINES = st.tuples(st.sampled_from(["acme", "acm", "globex"]), st.text(), st.integers(1, 9), st.binary())


@given(LINES, LINES)
def test_another_tenant_run_line_or_content_is_another_job(
    one: tuple[str, str, int, bytes], two: tuple[str, str, int, bytes]
) -> None:
    is_same = (*one[:3], one[3].strip()) == (*two[:3], two[3].strip())
    assert (_job_id(*one) == _job_id(*two)) is is_same


def _job_id(tenant: str, run: str, number: int, raw: bytes) -> str:
    return line_job_id(run_key(tenant, run), number, raw)


def test_the_same_line_of_the_same_run_is_another_job_of_another_tenant() -> None:
    assert _job_id("acme", "run", 1, b"{}") != _job_id("globex", "run", 1, b"{}")


# Half a surrogate pair among the characters, which only Python's own reader reads.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), JSON, max_size=3), st.booleans())
def test_a_line_is_read_as_pythons_own_reader_reads_it(content: dict[str, Any], has_bom: bool) -> None:
    try:
        written = json.dumps(content, allow_nan=False)
    except ValueError:  # an infinity
        return
    raw = written.encode("utf-8-sig" if has_bom else "utf-8")
    assert repr(json_object(raw)) == repr(without_nulls(json.loads(written)))


@given(st.binary())
def test_no_line_whatever_breaks_the_reader(raw: bytes) -> None:
    with pytest.raises(InvalidJob):
        read_line(RUN, 1, raw, now=0.0)
    assert custom_id_of(1, raw)
