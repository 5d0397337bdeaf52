"""What is believed of the usage in a provider's reply, through the real SDKs."""

from __future__ import annotations

import json
import pickle

import pytest
from fault_server import Scripted, anthropic_message, chat_completion

from fleet.model.attempt import Answer, Usage
from fleet.model.call import Call
from fleet.providers.usage import openai_usage

CALL = Call({"messages": [{"role": "user", "content": "Capital of France?"}]}, 30.0)
ABSENT = object()


def reply(provider, usage):
    body = anthropic_message("Paris.", "m") if provider == "anthropic" else chat_completion("Paris.", "m")
    del body["usage"]
    return json.dumps(body if usage is ABSENT else body | {"usage": usage}).encode()


def names(provider):
    return ("input_tokens", "output_tokens") if provider == "anthropic" else ("prompt_tokens", "completion_tokens")


def shown(usage):
    return "absent" if usage is ABSENT else repr(usage)


@pytest.mark.parametrize("usage", [ABSENT, None, {}, [], "11", 11, {"total_tokens": 18}], ids=shown)
async def test_an_answer_without_a_usage_is_an_answer(backend, outcomes, fault_server, provider, usage):
    fault_server.script(Scripted(body=reply(provider, usage)))
    [answer] = await outcomes(backend, CALL)
    assert isinstance(answer, Answer)
    assert (answer.text, answer.usage) == ("Paris.", Usage())


ODD = [-1, -40_000_000, 11.5, float("nan"), float("inf"), True, None, "11", [], {}]


@pytest.mark.parametrize("count", ODD, ids=repr)
@pytest.mark.parametrize("place", [0, 1])
async def test_a_count_that_is_no_count_makes_the_usage_unknown(
    backend, outcomes, fault_server, provider, count, place
):
    usage = dict.fromkeys(names(provider), 11) | {names(provider)[place]: count}
    fault_server.script(Scripted(body=reply(provider, usage)))
    [answer] = await outcomes(backend, CALL)
    assert (answer.text, answer.usage) == ("Paris.", Usage())


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 10**9}},
        {"prompt_tokens_details": {"cached_tokens": "5", "cache_write_tokens": 12}},
        {"completion_tokens_details": {"reasoning_tokens": -5}},
        {"completion_tokens_details": {"reasoning_tokens": 8}},
        {"output_tokens_details": {"thinking_tokens": 7.0}},
        {"cache_creation": {"ephemeral_1h_input_tokens": 5}},
        {"prompt_tokens_details": None, "completion_tokens_details": "none", "total_tokens": -3},
        {"cost": "NaN", "service_tier": 7},
    ],
)
async def test_details_that_do_not_add_up_change_nothing(backend, outcomes, fault_server, provider, details):
    usage = dict(zip(names(provider), (11, 7), strict=True)) | details
    fault_server.script(Scripted(body=reply(provider, usage)))
    [answer] = await outcomes(backend, CALL)
    assert answer.usage == Usage(11, 7)


OPENAI_USAGE = {
    "prompt_tokens": 1100,
    "completion_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 64},
}
GROQ_USAGE = {
    "prompt_tokens": 1100,
    "completion_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 1024},
    "completion_tokens_details": {"reasoning_tokens": 64},
}
ANTHROPIC_USAGE = {
    "input_tokens": 100,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 400,
    "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 250},
    "output_tokens": 70,
    "output_tokens_details": {"thinking_tokens": 64},
}


@pytest.mark.parametrize(
    ("provider", "found", "usage"),
    [
        ("openai", OPENAI_USAGE, Usage(1100, 70, 600, 400, 64)),
        ("groq", GROQ_USAGE, Usage(1100, 70, 1024, 0, 64)),
        ("anthropic", ANTHROPIC_USAGE, Usage(1100, 70, 600, 400, 64, 250)),
    ],
)
async def test_what_is_cached_and_what_is_thought_is_counted_within_the_totals(
    backend, outcomes, fault_server, provider, found, usage
):
    fault_server.script(Scripted(body=reply(provider, found)))
    [answer] = await outcomes(backend, CALL)
    assert answer.usage == usage
    assert answer.usage.answer_tokens == 6


def test_more_read_and_written_than_there_is_input_counts_what_was_read():
    details = {"prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 4}}
    assert openai_usage({"prompt_tokens": 11, "completion_tokens": 7, **details}) == Usage(11, 7, 8)


def test_a_usage_from_a_replica_of_an_earlier_version_has_no_details():
    usage = object.__new__(Usage)
    usage.__setstate__([11, 7])
    assert usage == Usage(11, 7)
    usage.__setstate__([11, 7, 1, 2, 3])
    assert usage == Usage(11, 7, 1, 2, 3)
    assert pickle.loads(pickle.dumps(Usage(11, 7, 1, 2, 3, 1))) == Usage(11, 7, 1, 2, 3, 1)


@pytest.mark.parametrize("provider", ["anthropic"])
@pytest.mark.parametrize(
    ("cached", "usage"), [(5, Usage(16, 7, 5)), (None, Usage(11, 7)), (-20, Usage()), ("5", Usage())]
)
async def test_tokens_of_the_cache_are_part_of_the_input(backend, outcomes, fault_server, provider, cached, usage):
    found = {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": cached}
    fault_server.script(Scripted(body=reply(provider, found)))
    [answer] = await outcomes(backend, CALL)
    assert answer.usage == usage
