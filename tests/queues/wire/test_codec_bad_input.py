"""Every way a job can be wrong is answered with the field and the rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.model.job import JOB_ID, Job, Lane
from fleet.model.result import Malformed
from queues.wire.job import MAX_BODY_BYTES, decode_job

SUBJECT = "jobs.bulk.acme"
REMOVE = object()


def envelope(path: str = "", value: Any = None) -> bytes:
    """A good job with the value at the dotted path replaced, added or removed."""
    sent: dict[str, Any] = {
        "id": "job-0123456789ab",
        "task": "nudge",
        "request": {
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Remind me."}]
        },
    }
    if path:
        *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        at: Any = sent
        for step in parents:
            at = at[step]
        if value is REMOVE:
            del at[last]
        else:
            at[last] = value
    return json.dumps(sent).encode()


def malformed(body: bytes, headers: dict[str, str] | None = None, subject: str = SUBJECT) -> Malformed:
    read = decode_job(body, headers, subject, 1.0)
    assert isinstance(read, Malformed)
    return read


def test_the_envelope_the_table_starts_from_is_good() -> None:
    assert isinstance(decode_job(envelope(), None, SUBJECT, 1.0), Job)


USER = "request.messages.1"
IMAGE = {"type": "image_url", "image_url": {"url": "https://img.example/1.png", "detail": "huge"}}
CACHED = {"type": "text", "text": "Remind me.", "cache_control": {"type": "ephemeral"}}
CACHED_TOOL = {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}
FTP = {"type": "image_url", "image_url": {"url": "ftp://img.example/1.png"}}
CALLED = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"arguments": "{}"}}]}
NAMED_TWICE = {"type": "function", "function": {"name": "f", "function": {}}}
NESTED = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "json_schema": {}}}


@pytest.mark.parametrize(
    ("path", "value", "field", "rule"),
    [
        ("id", REMOVE, "id", "is required"),
        ("id", "short", "id", "must match pattern"),
        ("id", "results.of.someone.else", "id", "must match pattern"),
        ("id", 12345678901234567890, "id", "must be a valid string"),
        ("schema", 2, "schema", "must be less than or equal to 1"),
        ("schema", True, "schema", "must be a valid integer"),
        ("task", REMOVE, "task", "is required"),
        ("task", "two words", "task", "must match pattern"),
        ("tenant", "globex", "tenant", "must be the tenant of the subject"),
        ("lane", "interactive", "lane", "must be the lane of the subject"),
        ("lane", "express", "lane", "must be 'interactive', 'standard' or 'bulk'"),
        ("tier", "hard", "tier", "must be 'simple', 'medium' or 'complex'"),
        ("plan", "gold", "plan", "must be 'free', 'paid' or 'own_key'"),
        ("deadline", "2030-01-31T12:00:00", "deadline", "an offset, as in 2030-01-31T12:00:00+00:00 or ...Z)"),
        ("deadline", "soon", "deadline", "ISO 8601"),
        ("deadline", 1_900_000_000_000, "deadline", "not milliseconds"),
        ("deadline", True, "deadline", "must be a valid"),
        ("above", "", "above", "must match pattern"),
        ("above", "two.tokens", "above", "must match pattern"),
        ("above", "x" * 65, "above", "must match pattern"),
        ("max_cost_usd", 0, "max_cost_usd", "must be greater than 0"),
        ("max_cost_usd", "1", "max_cost_usd", "must be a valid number"),
        ("cloud", "openai", "cloud", "must be 'allow' or 'deny', or be a valid list"),
        ("cloud", ["groq", "A Cloud"], "cloud.1", "must match pattern"),
        ("regions", "de", "regions", "must be a valid list"),
        ("regions", [], "regions", "at least 1 item"),
        ("regions", ["de", "The Hague"], "regions.1", "must match pattern"),
        ("person", "ada@example.com", "person", "must match pattern"),
        ("person", "x" * 65, "person", "must match pattern"),
        ("own_key", "sk-a-key-in-place-of-its-name", "own_key", "must match pattern"),
        ("metadata", {"user": 17}, "metadata.user", "must be a valid string"),
        ("metadata", {f"k{n}": "" for n in range(17)}, "metadata", "at most 16 items"),
        ("metadata", {"note": "x" * 257}, "metadata.note", "must have at most 256 characters"),
        ("priority", 9, "priority", "is not a known field"),
        ("max_tokens", 9, "max_tokens", "is not a known field here: it stands in `request`, beside `messages`"),
        ("request", REMOVE, "request", "is required"),
        ("request", "Remind me.", "request", "must be a valid dictionary"),
        ("request.messages", REMOVE, "request.messages", "is required"),
        ("request.messages", [], "request.messages", "at least 1 item"),
        (USER, "Remind me.", USER, "must be a valid dictionary"),
        (f"{USER}.role", "human", f"{USER}.role", "must be one of 'system', 'developer', 'user'"),
        (f"{USER}.role", REMOVE, f"{USER}.role", "is required"),
        (f"{USER}.content", "", f"{USER}.content", "must have at least 1 character"),
        (f"{USER}.content", [], f"{USER}.content", "at least 1 item"),
        (f"{USER}.content", 5, f"{USER}.content", "must be a valid string"),
        (f"{USER}.content", [{"type": "video"}], f"{USER}.content.0.type", "must be one of 'text', 'image_url'"),
        (f"{USER}.content", [IMAGE], f"{USER}.content.0.image_url.detail", "must be 'auto', 'low' or 'high'"),
        (f"{USER}.mood", "good", f"{USER}.mood", "is not a known field"),
        (USER, {"role": "assistant"}, USER, "must have content, tool_calls or a refusal"),
        (USER, {"role": "tool", "content": "4"}, f"{USER}.tool_call_id", "is required"),
        ("request.temperature", 2.5, "request.temperature", "must be less than or equal to 2"),
        ("request.temperature", "0", "request.temperature", "must be a valid number"),
        ("request.max_tokens", 0, "request.max_tokens", "must be greater than or equal to 1"),
        ("request.n", 2, "request.n", "must be less than or equal to 1"),
        ("request.stream", True, "request.stream", "must be False"),
        ("request.stop", ["a", 1], "request.stop.1", "must be a valid string"),
        ("request.stop", [], "request.stop", "must have at least 1 item, not 0"),
        ("request.stop", list("abcde"), "request.stop", "must have at most 4 items, not 5"),
        ("request.stop", 1, "request.stop", "must be a valid string"),
        ("request.messages", [], "request.messages", "must have at least 1 item, not 0"),
        ("request.tool_choice", "sometimes", "request.tool_choice", "must be 'none', 'auto' or 'required'"),
        ("request.tools", [{"type": "function", "function": {}}], "request.tools.0.function.name", "is required"),
        ("request.response_format", {"type": "xml"}, "request.response_format.type", "must be one of 'text'"),
        ("request.max_token", 5, "request.max_token", "is not a known field"),
        ("request.web_search_options", {}, "request.web_search_options", "charged apart"),
        ("request.cache_control", {}, "request.cache_control", "charged apart"),
        ("request.tools", [CACHED_TOOL], "request.tools.0.cache_control", "charged apart"),
        ("request.prediction", {"type": "content"}, "request.prediction", "charged apart"),
        ("request.audio", {"voice": "x"}, "request.audio", "charged apart"),
        ("request.modalities", ["text", "audio"], "request.modalities.1", "must be 'text'"),
        ("request.previous_response_id", "resp_1", "request.previous_response_id", "provider's account"),
        ("request.tools", [{"type": "web_search"}], "request.tools.0.type", "must be 'function'"),
        (f"{USER}.content", None, f"{USER}.content", "is required"),
        ("request.messages", None, "request.messages", "is required"),
        ("id", None, "id", "is required"),
        ("request.stop", ["a", None], "request.stop.1", "must be a valid string"),
        (f"{USER}.content", [CACHED], f"{USER}.content.0.cache_control", "charged apart"),
        (USER, {"role": "system", "content": [CACHED]}, f"{USER}.content.0.cache_control", "charged apart"),
        (USER, {"role": "tool", "tool_call_id": "1", "content": [IMAGE]}, f"{USER}.content.0.type", "must be 'text'"),
        (f"{USER}.content", [{"type": "text", "text": {"text": 1}}], f"{USER}.content.0.text", "valid string"),
        (f"{USER}.content", [{"type": "text"}], f"{USER}.content.0.text", "is required"),
        (f"{USER}.content", [{"type": "file", "file": {"file": 1}}], f"{USER}.content.0.file.file", "not a known"),
        (f"{USER}.content", [FTP], f"{USER}.content.0.image_url.url", "must match pattern"),
        (USER, {"role": "user", "user": {"content": 1}, "content": "x"}, f"{USER}.user", "is not a known field"),
        (USER, CALLED, f"{USER}.tool_calls.0.function.name", "is required"),
        ("request.tools", [NAMED_TWICE], "request.tools.0.function.function", "is not a known field"),
        ("request.response_format", NESTED, "request.response_format.json_schema.json_schema", "not a known field"),
        ("request.response_format", {"type": "text", "text": 1}, "request.response_format.text", "not a known field"),
    ],
)
def test_a_wrong_field_is_named_with_the_rule_it_breaks(path: str, value: Any, field: str, rule: str) -> None:
    problem = malformed(envelope(path, value)).problem

    assert problem.field == field
    assert rule in (problem.rule or "")
    assert problem.message == f"{field}: {problem.rule}"


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "must be JSON"),
        (b"remind me", "must be JSON"),
        (b"\xff\xfe", "must be JSON"),
        (b'{"id": NaN}', "must be JSON"),
        (b"[" * 300 + b"]" * 300, "must be JSON"),
        (b"[1]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (envelope("request.user", "x" * MAX_BODY_BYTES), f"must be at most {MAX_BODY_BYTES} bytes"),
    ],
)
def test_a_body_that_cannot_be_read_is_named_as_a_whole(body: bytes, rule: str) -> None:
    problem = malformed(body).problem

    assert problem.field == "body"
    assert rule in (problem.rule or "")


def numbers(count: int) -> bytes:
    """Each takes 5 bytes here and 19 when it is written out."""
    schema = b'{"enum": [' + b",".join([b"1e15"] * count) + b"]}"
    response_format = b'{"type": "json_schema", "json_schema": {"name": "n", "schema": ' + schema + b"}}"
    return envelope("request.response_format", None).replace(b"null", response_format)


def test_numbers_that_would_outgrow_a_message_once_written_out_are_a_problem_of_the_body() -> None:
    assert isinstance(decode_job(numbers(27_000), None, SUBJECT, 1.0), Job)

    problem = malformed(numbers(28_000)).problem

    assert len(numbers(28_000)) < MAX_BODY_BYTES
    assert problem.field == "body"
    assert f"{MAX_BODY_BYTES} bytes" in (problem.rule or "")


def test_a_tenant_that_is_no_name_is_a_problem_of_the_subject() -> None:
    assert malformed(envelope(), subject="jobs.bulk.ac$me").problem.field == "subject"


def test_a_value_is_never_repeated_in_the_problem() -> None:
    secret = "sk-9f8e7d6c5b4a"
    for path in ("id", "plan", "cloud", "deadline", "own_key", "request.messages.1.role", "request.temperature"):
        assert secret not in malformed(envelope(path, f"{secret} !")).problem.message


def test_a_long_unknown_name_is_cut() -> None:
    assert len(malformed(envelope("x" * 5000, 1)).problem.field or "") == 200


MESSAGE_ID = {"Nats-Msg-Id": "message-id-00001"}


@pytest.mark.parametrize(
    ("body", "headers", "job_id"),
    [
        (envelope("task", 5), MESSAGE_ID, "job-0123456789ab"),
        (envelope("id", REMOVE), MESSAGE_ID, "message-id-00001"),
        (envelope("id", "no id"), MESSAGE_ID, "message-id-00001"),
        (b"not JSON", MESSAGE_ID, "message-id-00001"),
        (b"not JSON", {"Nats-Msg-Id": "acme.message-id-00001"}, "message-id-00001"),
    ],
)
def test_bad_input_is_answered_under_the_best_id_it_has(body: bytes, headers: dict[str, str], job_id: str) -> None:
    assert malformed(body, headers).job_id == job_id


@pytest.mark.parametrize("headers", [None, {}, {"Nats-Msg-Id": "no id"}])
def test_bad_input_without_an_id_gets_one_that_a_redelivery_gets_again(headers: dict[str, str] | None) -> None:
    first, again, other = malformed(b"1", headers), malformed(b"1", headers), malformed(b"2", headers)

    assert first.job_id == again.job_id != other.job_id
    assert JOB_ID.fullmatch(first.job_id)
    assert first.job_id.startswith("invalid-")


def test_bad_input_keeps_its_body_tenant_and_lane() -> None:
    read = malformed(b"remind me")

    assert (read.body, read.tenant, read.lane) == (b"remind me", "acme", Lane.BULK)
