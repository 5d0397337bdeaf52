"""The Responses API, in the foreground and in the background, as OpenAI's own client sees it."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from gateways import TEXT_EVENTS
from openai import BadRequestError, NotFoundError

from fleet.gateway.jobs import stream
from fleet.gateway.state import Doors
from fleet.model.job import Lane
from fleet.model.result import Status
from fleet.testing import Answered, Failed, Unanswered

ASKED = {"model": "auto", "input": "I love the new calendar."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}


@pytest.fixture
def hasty_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_SECONDS", 0.01)


async def ended(bench, response_id: str):
    """The response, once its job has a result."""
    await bench.doors.client("acme").wait(response_id.removeprefix("resp_"), timeout_seconds=60)
    return await bench.openai.responses.retrieve(response_id)


async def test_a_response_is_answered_like_a_chat(bench) -> None:
    done = await bench.openai.responses.create(
        **ASKED,
        instructions="One word.",
        max_output_tokens=20,
        temperature=0.2,
        metadata={"user": "u-17"},
        service_tier="priority",
        extra_headers={"x-fleet-task": "classify.sentiment"},
    )
    [job] = bench.jobs
    assert (done.id, done.status, done.output_text, done.model) == (
        f"resp_{job.id}",
        "completed",
        "positive",
        "llama-8b",
    )
    assert (done.metadata, done.temperature, done.max_output_tokens) == ({"user": "u-17"}, 0.2, 20)
    assert (done.service_tier, done.background, done.error) == ("priority", False, None)
    assert done.fleet["target"] == "llama-8b"
    assert (job.task, job.lane, job.metadata) == ("classify.sentiment", Lane.INTERACTIVE, {"user": "u-17"})
    assert job.request == {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "One word."},
            {"role": "user", "content": "I love the new calendar."},
        ],
        "max_completion_tokens": 20,
        "temperature": 0.2,
    }


async def test_a_conversation_with_tools_becomes_the_turns_of_a_chat(bench) -> None:
    bench.script.reply = Answered({"content": None, "tool_calls": [CALL]})
    history = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "input_text", "text": "Where?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {
            "type": "function_call",
            "call_id": "c0",
            "name": "look",
            "arguments": "{}",
            "id": "fc_1",
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "c0", "output": "here"},
    ]
    done = await bench.openai.responses.create(
        model="auto", input=history, tools=[TOOL], tool_choice={"type": "function", "name": "look"}
    )
    [call] = done.output
    assert (call.type, call.call_id, call.name, call.arguments) == ("function_call", "c1", "look", '{"at":1}')
    request = bench.jobs[0].request
    assert request["messages"] == [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "I look."}],
            "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c0", "content": "here"},
    ]
    assert request["tools"] == [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": True}}
    ]
    assert request["tool_choice"] == {"type": "function", "function": {"name": "look"}}


async def test_an_answer_can_be_sent_back_as_history(bench) -> None:
    done = await bench.openai.responses.create(**ASKED)
    again = [{"role": "user", "content": "First."}, *done.output, {"role": "user", "content": "Second."}]
    await bench.openai.responses.create(model="auto", input=again)
    assert [each["role"] for each in bench.jobs[1].request["messages"]] == ["user", "assistant", "user"]


async def test_a_schema_for_the_answer_is_passed_on(bench) -> None:
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}}
    wanted = {"type": "json_schema", "name": "mood", "schema": schema, "strict": True}
    await bench.openai.responses.create(**ASKED, text={"format": wanted, "verbosity": "low"})
    assert bench.jobs[0].request["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "mood", "schema": schema, "strict": True},
    }
    assert bench.jobs[0].request["verbosity"] == "low"


async def test_a_response_is_streamed_by_named_and_numbered_events(bench) -> None:
    events = [each async for each in await bench.openai.responses.create(**ASKED, stream=True)]
    assert [each.type for each in events] == TEXT_EVENTS
    assert [each.sequence_number for each in events] == list(range(len(events)))
    assert events[5].delta == "positive"
    assert events[-1].response.output_text == "positive"


async def test_the_clients_own_helper_puts_the_stream_together(bench) -> None:
    bench.script.reply = Answered({"content": "I look.", "tool_calls": [CALL]})
    async with bench.openai.responses.stream(**ASKED) as streamed:
        whole = await streamed.get_final_response()
    assert whole.output_text == "I look."
    assert [each.type for each in whole.output] == ["message", "function_call"]


async def test_a_response_in_the_background_is_there_at_once_and_answered_later(bench) -> None:
    bench.script.reply = Unanswered()
    begun = await bench.openai.responses.create(**ASKED, background=True)
    assert (begun.status, begun.background, begun.output) == ("queued", True, [])
    assert (await bench.openai.responses.retrieve(begun.id)).status == "queued"
    bench.script.reply = Answered("positive")
    other = await bench.openai.responses.create(**ASKED, background=True)
    done = await ended(bench, other.id)
    assert (done.status, done.output_text, done.background) == ("completed", "positive", True)


async def test_a_response_in_the_background_survives_that_its_creator_goes_away(bench, hasty_comments) -> None:
    bench.script.reply = Unanswered()
    body = ASKED | {"background": True, "stream": True}
    async with bench.http.stream("POST", "/v1/responses", json=body) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: response.created"
    [job] = bench.jobs
    assert [each.subject for each in bench.tenants.broker.stored("cancels")] == []
    assert (await bench.openai.responses.retrieve(f"resp_{job.id}")).status == "queued"


@pytest.mark.parametrize("seen", range(len(TEXT_EVENTS)))
async def test_a_stream_goes_on_behind_any_event_without_losing_or_doubling_one(bench, seen: int) -> None:
    begun = await bench.openai.responses.create(**ASKED, background=True, stream=True)
    first = [await anext(begun) for _ in range(seen + 1)]
    await begun.close()
    response_id = first[0].response.id
    rest = await bench.openai.responses.retrieve(response_id, stream=True, starting_after=first[-1].sequence_number)
    events = [*first, *[each async for each in rest]]
    assert [each.type for each in events] == TEXT_EVENTS
    assert [each.sequence_number for each in events] == list(range(len(events)))


async def test_a_stream_that_is_taken_up_while_the_job_waits_ends_with_it(bench, hasty_comments) -> None:
    bench.script.reply = Unanswered()
    begun = await bench.openai.responses.create(**ASKED, background=True)
    url = f"/v1/responses/{begun.id}?stream=true&starting_after=0"
    async with bench.http.stream("GET", url) as answer:
        lines = (line async for line in answer.aiter_lines() if line)
        assert [await anext(lines), await anext(lines)][0] == "event: response.queued"
        assert (await anext(lines)).startswith(": waiting ")
        assert (await bench.openai.responses.cancel(begun.id)).status == "cancelled"
        last = [line async for line in lines if line.startswith("data: ")][-1]
    event = json.loads(last.removeprefix("data: "))
    assert (event["type"], event["response"]["status"]) == ("response.failed", "cancelled")


async def test_a_cancelled_response_stays_cancelled_and_an_ended_one_as_it_ended(bench) -> None:
    bench.script.reply = Unanswered()
    begun = await bench.openai.responses.create(**ASKED, background=True)
    for _ in range(2):
        assert (await bench.openai.responses.cancel(begun.id)).status == "cancelled"
    bench.script.reply = Answered("positive")
    done = await bench.openai.responses.create(**ASKED, background=True)
    await ended(bench, done.id)
    assert (await bench.openai.responses.cancel(done.id)).status == "completed"


async def test_only_the_background_can_be_cancelled(bench) -> None:
    done = await bench.openai.responses.create(**ASKED, store=True)
    with pytest.raises(BadRequestError, match="in the background"):
        await bench.openai.responses.cancel(done.id)


async def test_a_deleted_response_is_gone_and_its_job_cancelled(bench) -> None:
    bench.script.reply = Unanswered()
    begun = await bench.openai.responses.create(**ASKED, background=True)
    await bench.openai.responses.delete(begun.id)
    result = await bench.doors.client("acme").wait(begun.id.removeprefix("resp_"), timeout_seconds=60)
    assert result.status is Status.CANCELLED
    for ask in (bench.openai.responses.retrieve, bench.openai.responses.delete, bench.openai.responses.cancel):
        with pytest.raises(NotFoundError):
            await ask(begun.id)


async def test_a_response_in_the_foreground_is_kept_where_it_is_asked_for(bench) -> None:
    kept = await bench.openai.responses.create(**ASKED, store=True)
    assert (await bench.openai.responses.retrieve(kept.id)).output_text == "positive"
    for store in (False, None):
        done = await bench.openai.responses.create(**ASKED, store=store)
        with pytest.raises(NotFoundError):
            await bench.openai.responses.retrieve(done.id)


async def test_what_is_kept_holds_no_prompt_and_no_answer(bench) -> None:
    await bench.openai.responses.create(**ASKED, instructions="Secretly.", background=True)
    [kept] = [each.data for each in bench.tenants.broker.stored("$KV")]
    assert b"calendar" not in kept and b"Secretly" not in kept and b"positive" not in kept


async def test_a_response_without_an_answer_says_why(bench) -> None:
    bench.script.reply = Failed("no target answers")
    done = await ended(bench, (await bench.openai.responses.create(**ASKED, background=True)).id)
    assert (done.status, done.error.code, done.error.message) == ("failed", "server_error", "no target answers")
    events = [each async for each in await bench.openai.responses.retrieve(done.id, stream=True)]
    assert [each.type for each in events][-1] == "response.failed"
    with pytest.raises(Exception, match="no target answers"):
        await bench.openai.responses.create(**ASKED)


async def test_an_id_of_nobodys_is_not_found(bench) -> None:
    for response_id in ("resp_0123456789abcdef", "nonsense", "resp_*", "resp_a.b", "resp_" + "x" * 200):
        answer = await bench.http.get(f"/v1/responses/{response_id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_response_whose_result_is_kept_no_longer_is_not_found(bench) -> None:
    bench.script.reply = Unanswered()
    begun = await bench.openai.responses.create(**ASKED, background=True)
    doors: Doors = bench.doors
    now = doors.now
    doors.now = lambda: now() + 40 * 86_400
    with pytest.raises(NotFoundError):
        await bench.openai.responses.retrieve(begun.id)


REFUSED = {
    "no input": ({"model": "auto"}, "input"),
    "an empty input": ({"input": []}, "input"),
    "an item of an unknown kind": ({"input": [{"type": "dance"}]}, "input.0"),
    "a turn without content": ({"input": [{"role": "user"}]}, "input.0.content"),
    "an image at no address": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "cat.png"}]}]},
        "input.0.content.0.image_url",
    ),
    "nothing but thoughts": ({"input": [{"type": "reasoning"}]}, "input"),
    "an image in an answer": (
        {"input": [{"role": "assistant", "content": [{"type": "input_image", "image_url": "https://a.example/b"}]}]},
        "input",
    ),
    "a conversation that is kept elsewhere": (ASKED | {"previous_response_id": "resp_1"}, "previous_response_id"),
    "a tool that runs elsewhere": (ASKED | {"tools": [{"type": "web_search"}]}, "tools.0.type"),
    "an unknown field": (ASKED | {"tempreature": 1}, "tempreature"),
    "what is not kept": (ASKED | {"background": True, "store": False}, "store"),
    "a word for a truth": (ASKED | {"background": "yes"}, "background"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_broken_rule_is_refused_at_once_and_named(bench, name: str) -> None:
    body, param = REFUSED[name]
    answer = await bench.http.post("/v1/responses", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert bench.jobs == [] and bench.tenants.broker.stored("$KV") == []


async def test_whoever_goes_away_in_the_foreground_has_the_job_cancelled(bench) -> None:
    bench.script.reply = Unanswered()
    for is_stream in (False, True):
        asking = asyncio.ensure_future(bench.http.post("/v1/responses", json=ASKED | {"stream": is_stream}))
        job = await bench.script.arrived.get()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert (await bench.doors.client("acme").wait(job.id, timeout_seconds=60)).status is Status.CANCELLED


async def test_one_tenants_response_is_none_of_anothers(bench) -> None:
    begun = await bench.openai.responses.create(**ASKED, background=True)
    bench.doors.development_tenant = "beta"
    for method, path in (("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", "")):
        answer: httpx.Response = await bench.http.request(method, f"/v1/responses/{begun.id}{path}")
        assert answer.status_code == 404
    bench.doors.development_tenant = "acme"
    assert (await bench.openai.responses.retrieve(begun.id)).id == begun.id
