"""Chat through the queue, as OpenAI's own client sees it."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from openai import APIError, APIStatusError, BadRequestError, NotFoundError

from fleet.gateway.caller import Caller
from fleet.gateway.jobs import stream
from fleet.model.api_key import Scope
from fleet.model.attempt import FailureKind
from fleet.model.job import Lane, Plan, Tier
from fleet.model.result import Status
from fleet.testing import Answered, Expired, Failed, Unanswered

MESSAGES = [{"role": "user", "content": "I love the new calendar."}]
ASKED = {"model": "auto", "messages": MESSAGES}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture
def hasty_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.01)


async def lines_of(answer: httpx.Response) -> list[str]:
    return [line async for line in answer.aiter_lines() if line]


async def test_a_chat_is_answered_by_a_target_and_says_what_it_cost(bench) -> None:
    bench.script.reply = Answered("positive", target="mixtral-8x7b", escalated_from=["llama-8b"], cost_usd=0.25)
    done = await bench.openai.chat.completions.create(**ASKED)
    [job] = bench.jobs
    assert (done.id, done.model, done.object) == (f"chatcmpl-{job.id}", "mixtral-8x7b", "chat.completion")
    assert [(each.message.content, each.finish_reason) for each in done.choices] == [("positive", "stop")]
    assert done.fleet == {
        "job_id": job.id,
        "status": "succeeded",
        "reason": "confident",
        "target": "mixtral-8x7b",
        "model": "mixtral-8x7b",
        "confidence": 0.95,
        "cost_usd": 0.25,
        "attempts": 2,
    }
    assert (job.tenant, job.task, job.lane, job.request) == ("acme", "chat", Lane.STANDARD, ASKED)


@pytest.mark.parametrize(
    ("tier", "lane"),
    [
        ("flex", "bulk"),
        ("auto", "standard"),
        ("default", "standard"),
        ("scale", "standard"),
        ("priority", "interactive"),
    ],
)
async def test_the_service_tier_is_the_lane(bench, tier: str, lane: str) -> None:
    done = await bench.openai.chat.completions.create(**ASKED, service_tier=tier)
    assert (bench.jobs[0].lane, done.service_tier) == (lane, tier)
    assert "service_tier" not in bench.jobs[0].request


async def test_what_openai_has_no_field_for_comes_in_headers(bench) -> None:
    await bench.openai.chat.completions.create(
        **ASKED,
        metadata={"user": "u-17"},
        extra_headers={
            "x-fleet-task": "classify.sentiment",
            "x-fleet-tier": "simple",
            "x-fleet-plan": "free",
            "x-fleet-deadline-seconds": "60",
            "x-fleet-max-cost-usd": "0.5",
            "x-fleet-cloud": "openai, groq",
            "x-fleet-above": "llama-8b",
            "x-fleet-person": "p-1",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    [job] = bench.jobs
    assert (job.task, job.tier, job.plan, job.above) == ("classify.sentiment", Tier.SIMPLE, Plan.FREE, "llama-8b")
    assert (job.max_cost_usd, job.person, job.metadata) == (0.5, "p-1", {"user": "u-17"})
    assert job.cloud.providers == {"openai", "groq"}
    assert job.deadline_at is not None and 0 < job.deadline_at - job.submitted_at <= 60


async def test_a_call_of_a_tool_comes_back_whole_and_streamed(bench) -> None:
    bench.script.reply = Answered({"content": None, "tool_calls": [CALL]})
    done = await bench.openai.chat.completions.create(**ASKED, tools=[TOOL])
    assert (done.choices[0].finish_reason, done.choices[0].message.content) == ("tool_calls", None)
    [call] = done.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "look", '{"at":1}')
    async with bench.openai.chat.completions.stream(**ASKED, tools=[TOOL]) as streamed:
        whole = await streamed.get_final_completion()
    [call] = whole.choices[0].message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "look", '{"at":1}')


async def test_an_answer_is_streamed_as_one_chunk_and_how_it_ended(bench) -> None:
    chunks = [each async for each in await bench.openai.chat.completions.create(**ASKED, stream=True)]
    assert [(c.choices[0].delta.content, c.choices[0].finish_reason) for c in chunks] == [
        ("positive", None),
        (None, "stop"),
    ]
    assert {c.id for c in chunks} == {f"chatcmpl-{bench.jobs[0].id}"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].fleet["target"] == "llama-8b"


async def test_the_usage_comes_last_where_it_is_asked_for(bench) -> None:
    asked = await bench.openai.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
    chunks = [each async for each in asked]
    assert [(len(each.choices), each.usage is not None) for each in chunks] == [(1, False), (1, False), (0, True)]
    assert chunks[-1].usage.total_tokens == 0


async def test_a_stream_says_that_it_waits_until_the_answer_is_there(bench, hasty_comments) -> None:
    bench.script.reply = Unanswered()
    async with bench.http.stream("POST", "/v1/chat/completions", json=ASKED | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == (
            "no-cache, no-transform",
            "no",
        )
        lines = (line async for line in answer.aiter_lines() if line)
        comments = [await anext(lines) for _ in range(3)]
        await bench.doors.client("acme").cancel(bench.jobs[0].id)
        ended = [line async for line in lines if not line.startswith(":")]
    assert comments[0].startswith(": waiting 0 s, ") and comments[0].endswith(" of your jobs wait in lane standard")
    assert all(comment.startswith(": waiting ") for comment in comments)
    assert [json.loads(line.removeprefix("data: "))["error"]["code"] for line in ended] == ["cancelled"]


async def test_an_error_in_a_stream_is_raised_by_the_client(bench, hasty_comments) -> None:
    bench.script.reply = Unanswered()
    stream = await bench.openai.chat.completions.create(**ASKED, stream=True, timeout=None)
    waiting = asyncio.ensure_future(anext(aiter(stream)))
    job = await bench.script.arrived.get()
    await bench.doors.client("acme").cancel(job.id)
    with pytest.raises(APIError) as raised:
        await waiting
    assert raised.value.code == "cancelled"


@pytest.mark.parametrize("is_stream", [False, True])
async def test_whoever_goes_away_has_the_job_cancelled(bench, is_stream: bool) -> None:
    bench.script.reply = Unanswered()
    asking = asyncio.ensure_future(bench.http.post("/v1/chat/completions", json=ASKED | {"stream": is_stream}))
    job = await bench.script.arrived.get()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    ended = await bench.doors.client("acme").wait(job.id, timeout_seconds=60)
    assert ended.status is Status.CANCELLED


REFUSED = {
    "no messages": ({}, "messages", 400),
    "an empty list": ({"messages": []}, "messages", 400),
    "an unknown role": ({"messages": [{"role": "boss", "content": "x"}]}, "messages.0.role", 400),
    "an unknown field": (ASKED | {"tempreature": 1}, "tempreature", 400),
    "a field of another interface": (ASKED | {"previous_response_id": "resp_1"}, "previous_response_id", 400),
    "two choices": (ASKED | {"n": 2}, "n", 400),
    "a tier nobody has": (ASKED | {"service_tier": "gold"}, "service_tier", 400),
    "a word for a truth": (ASKED | {"stream": "yes"}, "stream", 400),
    "metadata that is too long": (ASKED | {"metadata": {"a": "x" * 257}}, "metadata.a", 400),
    "a model nobody has": (ASKED | {"model": "gpt-17"}, "model", 404),
    "a temperature beyond all": (ASKED | {"temperature": 3}, "temperature", 400),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_broken_rule_is_refused_at_once_and_named(bench, name: str) -> None:
    body, param, status = REFUSED[name]
    for is_stream in ({}, {"stream": True}):
        answer = await bench.http.post("/v1/chat/completions", json={**is_stream, **body})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert bench.jobs == []


@pytest.mark.parametrize(
    ("headers", "param"),
    [
        ({"x-fleet-task": "nobody.knows"}, "x-fleet-task"),
        ({"x-fleet-taks": "classify.sentiment"}, "x-fleet-taks"),
        ({"x-fleet-tier": "huge"}, "x-fleet-tier"),
        ({"x-fleet-deadline-seconds": "soon"}, "x-fleet-deadline-seconds"),
        ({"x-fleet-cloud": "initech"}, "x-fleet-cloud"),
        ({"x-fleet-above": "gpt-17"}, "x-fleet-above"),
        ({"x-fleet-regions": "atlantis"}, "x-fleet-regions"),
        ({"x-fleet-not-before-seconds": str(31 * 86_400)}, "x-fleet-not-before-seconds"),
        ({"x-fleet-person": "ada@example.com"}, "x-fleet-person"),
        ({"x-fleet-own-key": "openai"}, "x-fleet-own-key"),
    ],
)
async def test_a_header_that_breaks_a_rule_is_refused_and_named(bench, headers: dict[str, str], param: str) -> None:
    answer = await bench.http.post("/v1/chat/completions", json=ASKED, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"messages": [', "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_json"),
        (b"", "application/json", 400, "invalid_json"),
        (b'{"temperature": NaN}', "application/json", 400, "invalid_json"),
        (b'{"user": "\\ud800"}', "application/json", 400, "invalid_json"),
        (b"\xff\xfe{}", "application/json", 400, "invalid_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b" " * (1024 * 1024 + 1), "application/json", 413, "request_too_large"),
    ],
)
async def test_a_body_that_is_none_is_refused(bench, body: bytes, content_type: str, status: int, code: str) -> None:
    answer = await bench.http.post("/v1/chat/completions", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_job_that_would_not_fit_into_the_queue_is_too_large(bench) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 600_000}]}
    answer = await bench.http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "request")


async def test_a_body_without_a_length_is_cut_off_at_the_limit(bench) -> None:
    async def endless():
        for _ in range(20):
            yield b" " * 100_000

    headers = {"content-type": "application/json"}
    answer = await bench.http.post("/v1/chat/completions", content=endless(), headers=headers)
    assert answer.status_code == 413


ENDED = {
    "failed": (Failed("no target answers"), APIStatusError, 502, "all_failed"),
    "too long": (Failed("8,000 tokens", FailureKind.CONTEXT_TOO_LONG), BadRequestError, 400, "context_length_exceeded"),
    "expired": (Expired(), APIStatusError, 504, "deadline_exceeded"),
}


@pytest.mark.parametrize("name", ENDED)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_job_without_an_answer_is_an_error_that_the_client_does_not_repeat(
    bench, name: str, is_stream: bool
) -> None:
    bench.script.reply, kind, status, code = ENDED[name]
    stubborn = bench.openai.with_options(max_retries=2)
    with pytest.raises(kind) as raised:
        await stubborn.chat.completions.create(**ASKED, stream=is_stream)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert len(bench.jobs) == 1


async def test_a_pinned_model_is_passed_on_and_an_unknown_one_is_not_found(bench) -> None:
    await bench.openai.chat.completions.create(model="llama-8b", messages=MESSAGES)
    assert bench.jobs[0].request["model"] == "llama-8b"
    with pytest.raises(NotFoundError, match="there are auto, "):
        await bench.openai.chat.completions.create(model="gpt-17", messages=MESSAGES)


async def test_fields_that_are_null_are_absent(bench) -> None:
    nulls = dict.fromkeys(("stream", "stream_options", "service_tier", "metadata", "temperature", "tools", "stop"))
    answer = await bench.http.post("/v1/chat/completions", json=ASKED | nulls)
    assert answer.status_code == 200
    assert bench.jobs[0].request == ASKED


async def test_options_of_a_stream_need_a_stream(bench) -> None:
    body = ASKED | {"stream_options": {"include_usage": True}}
    answer = await bench.http.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream_options")


class Revocable:
    """One key, until it is revoked."""

    is_revoked = False

    async def find(self, secret: str) -> Caller | None:
        return None if self.is_revoked else Caller("acme", "k1", frozenset(Scope))


async def test_a_stream_whose_key_is_revoked_ends_and_its_job_is_cancelled(bench, hasty_comments) -> None:
    bench.doors.keys = keys = Revocable()
    bench.script.reply = Unanswered()
    body, sent = ASKED | {"stream": True}, {"authorization": "Bearer k"}
    async with bench.http.stream("POST", "/v1/chat/completions", json=body, headers=sent) as answer:
        lines = (line async for line in answer.aiter_lines() if line)
        assert (await anext(lines)).startswith(": waiting ")
        keys.is_revoked = True
        *_, last = [line async for line in lines]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "invalid_api_key"
    ended = await bench.doors.client("acme").wait(bench.jobs[0].id, timeout_seconds=60)
    assert ended.status is Status.CANCELLED
