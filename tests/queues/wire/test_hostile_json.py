"""JSON that is valid, or nearly, and means harm: what becomes of it is decided where it comes in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.model.attempt import Attempt, Failure, FailureKind
from fleet.model.job import Job
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Work
from queues.wire.job import decode_job
from queues.wire.work import decode_work, encode_work

SUBJECT = "jobs.bulk.acme"
PLAIN = '"messages": [{"role": "user", "content": "Hi"}]'
PARAMETERS = "request.tools.0.function.parameters"
FORMAT = "request.response_format.json_schema.schema"


def envelope(request: str = "", more: str = "") -> bytes:
    return f'{{"id": "job-0123456789ab", "task": "t", {more} "request": {{{PLAIN}{request}}}}}'.encode()


def tool(parameters: str) -> str:
    return f', "tools": [{{"type": "function", "function": {{"name": "f", "parameters": {parameters}}}}}]'


def answer_schema(document: str) -> str:
    spec = f'{{"name": "n", "schema": {document}}}'
    return f', "response_format": {{"type": "json_schema", "json_schema": {spec}}}'


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1E400", "1" + "0" * 310 + ".0"])
@pytest.mark.parametrize(("within", "field"), [(tool, PARAMETERS), (answer_schema, FORMAT)])
def test_a_number_no_float_holds_is_refused_where_a_schema_is_free(within, field: str, number: str) -> None:
    """It would be read as infinity, and written as a word that is no JSON."""
    read = decode_job(envelope(within(f'{{"a": [1, {{"b": {number}}}]}}')), None, SUBJECT, 1.0)

    assert isinstance(read, Malformed)
    assert read.problem.field == field
    assert "64-bit float" in (read.problem.rule or "")


@pytest.mark.parametrize(
    ("request_field", "field"),
    [
        (', "temperature": 1e400', "request.temperature"),
        (', "max_tokens": 1' + "0" * 400, "request.max_tokens"),
        (', "max_completion_tokens": 2147483648', "request.max_completion_tokens"),
        (', "seed": 9223372036854775808', "request.seed"),
        (', "seed": -9223372036854775809', "request.seed"),
        (', "logit_bias": {"1": 1e400}', "request.logit_bias.1"),
        (', "seed": ' + "9" * 4301, "body"),
        (', "user": "\\ud800"', "body"),
        (', "user": "\\udc00 alone"', "body"),
        (', "user": NaN', "body"),
        (tool('{"a":' * 200 + "1" + "}" * 200), "body"),
    ],
)
def test_what_no_engine_could_take_is_refused(request_field: str, field: str) -> None:
    read = decode_job(envelope(request_field), None, SUBJECT, 1.0)

    assert isinstance(read, Malformed)
    assert read.problem.field == field


@pytest.mark.parametrize("field", ["deadline", "max_cost_usd"])
@pytest.mark.parametrize("number", ["1e400", "1" + "0" * 400, "-1e400"])
def test_an_envelopes_number_that_no_float_holds_is_refused(field: str, number: str) -> None:
    read = decode_job(envelope(more=f'"{field}": {number},'), None, SUBJECT, 1.0)

    assert isinstance(read, Malformed)
    assert (read.problem.field or "").startswith(field)


def test_a_long_whole_number_in_a_schema_is_carried_as_it_is() -> None:
    number = "9" * 400
    read = decode_job(envelope(tool(f'{{"maximum": {number}}}')), None, SUBJECT, 1.0)

    assert isinstance(read, Job)
    work = Work(read, "t", Reason.ROUTED)
    assert decode_work(encode_work(work), "work.t.bulk.acme") == work


def test_of_a_key_written_twice_the_last_one_counts_everywhere() -> None:
    """No reader further on sees the other one: what is passed on is what was checked."""
    twice = envelope(', "user": "a", "user": "b"', '"plan": "free", "plan": "paid",')
    read = decode_job(twice, None, SUBJECT, 1.0)

    assert isinstance(read, Job)
    assert (read.plan, read.request["user"]) == ("paid", "b")
    assert b'"a"' not in encode_work(Work(read, "t", Reason.ROUTED))


@pytest.mark.parametrize("order", [("globex", "acme"), ("acme", "globex")])
def test_a_tenant_written_twice_cannot_pass_for_another(order: tuple[str, str]) -> None:
    first, last = order
    read = decode_job(envelope(more=f'"tenant": "{first}", "tenant": "{last}",'), None, SUBJECT, 1.0)

    assert read.tenant == "acme"
    assert isinstance(read, Job) == (last == "acme")


def work(**changes: object) -> bytes:
    job = decode_job(envelope(), None, SUBJECT, 1.0)
    assert isinstance(job, Job)
    return json.dumps({**json.loads(encode_work(Work(job, "t", Reason.ROUTED))), **changes}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a b"},
        {"id": ["job-0123456789ab"]},
        {"tenant": "globex"},
        {"lane": "interactive"},
        {"target": "another"},
        {"hop": "1"},
        {"submitted_at": float("inf")},
        {"not_before_at": "tomorrow"},
        {"attempts": [{}]},
        {"metadata": {"a": 1}},
        {"request": "Hi"},
    ],
)
def test_work_of_another_shape_or_address_is_malformed(changes: dict[str, object]) -> None:
    assert isinstance(decode_work(work(), "work.t.bulk.acme"), Work)
    assert isinstance(decode_work(work(**changes), "work.t.bulk.acme"), Malformed)


def test_an_attempt_of_another_shape_is_malformed() -> None:
    attempt = Attempt(1, "t", Reason.ROUTED, 1.0, 2.0, Failure(FailureKind.TIMEOUT, "no reply"))
    decoded = decode_work(work(), "work.t.bulk.acme")
    assert isinstance(decoded, Work)
    [packed] = json.loads(encode_work(replace(decoded, attempts=(attempt,))))["attempts"]
    assert isinstance(decode_work(work(attempts=[packed]), "work.t.bulk.acme"), Work)
    assert isinstance(decode_work(work(attempts=[{**packed, "repeated": "maybe"}]), "work.t.bulk.acme"), Malformed)


def test_work_with_fields_of_a_later_version_is_read() -> None:
    assert isinstance(decode_work(work(colour="blue"), "work.t.bulk.acme"), Work)
