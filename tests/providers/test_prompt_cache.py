"""Marks and keys for providers' prompt caches: when one dispatcher sets them, and how each provider is told."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Scripted
from structlog.testing import capture_logs

from fleet.model.attempt import Answer, Failure, FailureKind
from fleet.model.call import Call
from fleet.model.target import Capability, Target
from fleet.providers import EnvironmentKeyRing, ProviderSettings, build
from fleet.providers.prompt_cache import CALLS_A_MINUTE, LEAST_BYTES, Begun, PromptCache
from policies.caching.prompt import CachePrices, Life, MarkReason

PRICES = CachePrices(1.0, 0.1, {Life.MINUTES: 1.25, Life.HOUR: 2.0})
LONG = b"x" * LEAST_BYTES


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> PromptCache:
    return PromptCache("claude", PRICES, clock, beginnings=3)


def begin(cache: PromptCache, beginning: bytes = LONG, scope: str = "acme") -> Begun:
    begun = cache.begin(scope, beginning)
    assert begun is not None
    return begun


def call(cache: PromptCache, clock: Clock, after: float, beginning: bytes = LONG, answered: bool = True) -> Begun:
    clock.seconds += after
    begun = begin(cache, beginning)
    cache.end(begun, answered)
    return begun


def test_a_beginning_that_comes_again_and_again_is_marked_and_then_read(cache: PromptCache, clock: Clock) -> None:
    made = [call(cache, clock, 10).mark for _ in range(20)]
    assert made[0].reason is MarkReason.TOO_RARE
    first = next(number for number, each in enumerate(made) if each.life)
    assert made[first].reason is MarkReason.PAYS
    assert {each.reason for each in made[first + 1 :]} == {MarkReason.KEPT}


def test_a_beginning_that_never_comes_again_is_never_marked(cache: PromptCache, clock: Clock) -> None:
    assert not any(call(cache, clock, 1, LONG + str(number).encode()).mark.life for number in range(100))


def test_a_beginning_that_comes_every_ten_minutes_is_kept_for_an_hour(cache: PromptCache, clock: Clock) -> None:
    assert [call(cache, clock, 600).mark.life for _ in range(20)][-5:] == [Life.HOUR] * 5


def test_what_comes_too_rarely_for_any_life_is_no_longer_marked(cache: PromptCache, clock: Clock) -> None:
    assert [call(cache, clock, 10).mark.life for _ in range(20)][-1] is Life.MINUTES
    assert [call(cache, clock, 5000).mark.reason for _ in range(200)][-1] is MarkReason.TOO_RARE


def test_a_new_beginning_is_marked_at_once_where_others_came_back(cache: PromptCache, clock: Clock) -> None:
    for number in range(40):
        for _ in range(4):
            call(cache, clock, 10, LONG + str(number).encode())
    assert call(cache, clock, 10, LONG + b"new").mark.life is Life.MINUTES


def test_calls_beside_the_one_that_writes_are_not_marked_and_say_nothing_of_reuse(
    cache: PromptCache, clock: Clock
) -> None:
    for _ in range(20):
        call(cache, clock, 10)
    clock.seconds += 400
    first = begin(cache)
    assert first.mark.reason is MarkReason.PAYS
    beside = [begin(cache) for _ in range(50)]
    assert {each.mark.reason for each in beside} == {MarkReason.BEING_WRITTEN}
    for each in [*beside[:25], first, *beside[25:]]:
        cache.end(each, True)
    assert begin(cache).mark.reason is MarkReason.KEPT


def test_what_a_failed_call_should_have_written_is_not_there(cache: PromptCache, clock: Clock) -> None:
    while (begun := call(cache, clock, 10, answered=False)).mark.life is None:
        pass
    assert begun.mark.reason is MarkReason.PAYS
    assert call(cache, clock, 10).mark.reason is MarkReason.PAYS
    assert call(cache, clock, 10).mark.reason is MarkReason.KEPT


def test_of_too_many_beginnings_the_one_used_longest_ago_is_forgotten(cache: PromptCache, clock: Clock) -> None:
    for _ in range(10):
        call(cache, clock, 10)
    under_way = begin(cache)
    for number in range(3):
        call(cache, clock, 1, LONG + str(number).encode())
    cache.end(under_way, True)
    assert call(cache, clock, 1).mark.reason is not MarkReason.KEPT


def test_a_short_beginning_is_left_alone(cache: PromptCache) -> None:
    assert cache.begin("acme", b"x" * (LEAST_BYTES - 1)) is None


def test_tenants_have_their_own_keys_and_busy_ones_several(cache: PromptCache, clock: Clock) -> None:
    assert begin(cache).key != begin(cache, scope="globex").key
    keys = [call(cache, clock, 0.1).key for _ in range(4 * CALLS_A_MINUTE)]
    assert len(set(keys[:CALLS_A_MINUTE])) == 1
    assert len(set(keys)) == 4
    assert max(map(keys[CALLS_A_MINUTE:].count, set(keys))) <= 2 * CALLS_A_MINUTE
    assert all(len(key) <= 64 for key in keys)


# --- through the real SDKs

SYSTEM = "You classify messages. " * 120
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
REQUEST = {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Capital of France?"}]}


def priced(target: Target) -> Target:
    return replace(target, cached_input_usd_per_million_tokens=0.1, cache_write_usd_per_million_tokens=1.25)


@pytest.fixture
def backend_of(fault_server: FaultServer, target: Callable[..., Target], keys: dict[str, str]) -> Callable[[str], Any]:
    def make(provider: str) -> Any:
        settings = ProviderSettings(base_urls=fault_server.base_urls)
        return build(priced(target(provider, Capability.TEXT, Capability.TOOLS)), settings, EnvironmentKeyRing(keys))

    return make


async def sent(outcomes: Any, server: FaultServer, backend: Any, request: Any, scope: str | None, count: int) -> Any:
    """Make the calls one after the other; return the bodies that the provider got."""
    for _ in range(count):
        [outcome] = await outcomes(backend, Call(request, 30.0, cache_scope=scope))
        assert isinstance(outcome, Answer)
    await backend.close()
    return [each.body for each in server.received]


async def test_anthropic_reads_the_mark_on_the_system_prompt_once_it_pays(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    first, *_, last = await sent(outcomes, fault_server, backend_of("anthropic"), REQUEST, "acme", 12)
    assert first["system"] == SYSTEM
    marked = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    assert last == {**first, "system": [marked]}


async def test_anthropic_reads_the_mark_on_the_last_tool_where_there_is_no_system_prompt(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    tools = [TOOL, {**TOOL, "function": {**TOOL["function"], "name": "other", "description": SYSTEM}}]
    request = {"messages": REQUEST["messages"][1:], "tools": tools}
    first, *_, last = await sent(outcomes, fault_server, backend_of("anthropic"), request, "acme", 12)
    one, other = first["tools"]
    assert last == {**first, "tools": [one, {**other, "cache_control": {"type": "ephemeral"}}]}


async def test_openai_gets_a_key_at_once_and_a_breakpoint_once_it_pays(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    first, *_, last = await sent(outcomes, fault_server, backend_of("openai"), REQUEST, "acme", 12)
    assert first["messages"] == REQUEST["messages"]
    assert first["prompt_cache_key"] == last["prompt_cache_key"]
    part = {"type": "text", "text": SYSTEM, "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert last["messages"] == [{"role": "system", "content": [part]}, REQUEST["messages"][1]]
    assert first["prompt_cache_options"] == last["prompt_cache_options"] == {"mode": "explicit"}


async def test_openai_keeps_a_conversation_to_its_end(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    request = {"messages": [*REQUEST["messages"], {"role": "assistant", "content": "Paris."}, REQUEST["messages"][1]]}
    first, *_, last = await sent(outcomes, fault_server, backend_of("openai"), request, "acme", 12)
    assert "prompt_cache_options" not in first
    assert last["messages"][1:] == request["messages"][1:]
    assert "prompt_cache_breakpoint" in json.dumps(last["messages"][0])


async def test_a_key_of_the_job_itself_is_kept(backend_of: Any, outcomes: Any, fault_server: FaultServer) -> None:
    request = {**REQUEST, "prompt_cache_key": "mine"}
    [body] = await sent(outcomes, fault_server, backend_of("openai"), request, "acme", 1)
    assert body["prompt_cache_key"] == "mine"


@pytest.mark.parametrize(("name", "scope"), [("groq", "acme"), ("openai", None), ("anthropic", None)])
async def test_whoever_takes_no_marks_or_is_to_have_none_gets_the_plain_call(
    backend_of: Any, outcomes: Any, fault_server: FaultServer, name: str, scope: str | None
) -> None:
    bodies = await sent(outcomes, fault_server, backend_of(name), REQUEST, scope, 12)
    assert bodies == [bodies[0]] * 12
    assert not {"cache_control", "prompt_cache_key", "prompt_cache_breakpoint"} & set(json.dumps(bodies[0]).split('"'))


REFUSED = Scripted(400, {"error": {"message": "unknown field prompt_cache_key", "type": "invalid_request_error"}})


async def test_a_server_that_refuses_keys_is_called_without_them(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    fault_server.script(REFUSED)
    with capture_logs() as lines:
        bodies = await sent(outcomes, fault_server, backend_of("openai"), REQUEST, "acme", 3)
    assert ["prompt_cache_key" in body for body in bodies] == [True, False, False, False]
    assert [line["event"] for line in lines] == ["prompt_cache_refused"]


async def test_a_request_that_is_refused_without_a_mark_too_fails_and_marks_go_on(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    backend = backend_of("openai")
    fault_server.script(REFUSED, REFUSED)
    [outcome] = await outcomes(backend, Call(REQUEST, 30.0, cache_scope="acme"))
    assert isinstance(outcome, Failure) and outcome.kind is FailureKind.INVALID_REQUEST
    bodies = await sent(outcomes, fault_server, backend, REQUEST, "acme", 1)
    assert ["prompt_cache_key" in body for body in bodies] == [True, False, True]


async def test_a_refused_request_is_not_sent_again_once_a_mark_was_taken(
    backend_of: Any, outcomes: Any, fault_server: FaultServer
) -> None:
    backend, call = backend_of("openai"), Call(REQUEST, 30.0, cache_scope="acme")
    [answer] = await outcomes(backend, call)
    fault_server.script(REFUSED)
    [refused] = await outcomes(backend, call)
    await backend.close()
    assert isinstance(answer, Answer) and isinstance(refused, Failure)
    assert len(fault_server.received) == 2


ENCODED = """
import json
from fleet.model.target import Capability, LatencyClass, Target
from fleet.providers.anthropic.wire import AnthropicWire
from fleet.providers.openai.wire import OpenAIWire

capabilities = frozenset({Capability.TEXT, Capability.TOOLS, Capability.JSON_SCHEMA})
fields = {name: {"type": ["string", "null"]} for name in ("city", "country", "street", "number", "name")}
schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
function = {"name": "look_up", "description": "Look up.", "strict": True, "parameters": schema}
answer = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
request = {
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Where?"}],
    "tools": [{"type": "function", "function": function}],
    "response_format": answer,
}
for provider, kind in (("anthropic", AnthropicWire), ("openai", OpenAIWire)):
    wire = kind(Target("t", provider, "m", 1.0, 2.0, 8192, capabilities, LatencyClass.FAST, 8))
    body = wire.encode(request)
    assert wire.beginning(body) == wire.beginning(wire.encode(json.loads(json.dumps(request))))
    print(wire.beginning(body), json.dumps(body))
"""


def test_equal_requests_have_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "encode.py"
    script.write_text(ENCODED)
    with contextlib.redirect_stdout(io.StringIO()) as here:
        runpy.run_path(str(script))
    other = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, script], env=other, check=True, capture_output=True, text=True, timeout=60)
    assert found.stdout == here.getvalue()
    assert found.stdout.count("look_up") == 4
