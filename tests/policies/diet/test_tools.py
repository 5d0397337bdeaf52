"""Tools are left out that nobody names and nobody calls, and come back as soon as one is missed."""

from __future__ import annotations

import math

import pytest

from fleet.model.attempt import Answer, Usage
from policies.diet.tools import DELTA, MOST_PLACES, ToolUse, asks_for, left_out, seen_so_seldom
from policies.rules.diet import DietRules

RULES = DietRules(tool_jobs=300, tool_use=0.02)
UNUSED = frozenset({"get_weather", "bookRoom"})


def tool(name):
    return {"type": "function", "function": {"name": name}}


def asked(text="Hello.", *more, **fields):
    tools = [tool(name) for name in ("get_weather", "look_up", "bookRoom")]
    return {"messages": [{"role": "user", "content": text}, *more], "tools": tools, **fields}


def used(calls, jobs):
    use = ToolUse()
    for job in range(jobs):
        use = use.after(job < calls, RULES)
    return use


def test_what_nobody_uses_or_names_is_left_out_by_its_place():
    assert left_out(asked(), UNUSED) == (0, 2)


@pytest.mark.parametrize(
    ("request_", "places"),
    [
        (asked("Please call get_weather"), (2,)),
        (asked("May I get weather reports?"), (2,)),
        (asked("Book room 12"), (0,)),
        (asked(tool_choice={"type": "function", "function": {"name": "bookRoom"}}), (0,)),
        (asked("?", {"role": "assistant", "tool_calls": [tool("get_weather")]}), (2,)),
        (asked("?", {"role": "user", "content": [{"type": "text", "text": "GET_WEATHER"}]}), (2,)),
        ({"messages": [], "tools": [{"type": "custom"}, tool("get_weather")]}, (1,)),
        ({"messages": [], "tools": [tool("get_weather")], "tool_choice": "required"}, ()),
        ({"messages": [], "tools": [tool("get_weather")], "tool_choice": "auto"}, (0,)),
        ({"messages": []}, ()),
    ],
)
def test_what_is_named_or_must_be_called_stays(request_, places):
    assert left_out(request_, UNUSED) == places


def test_a_tool_is_unused_once_enough_jobs_show_it():
    assert not used(0, 299).is_unused and used(0, 300).is_unused
    assert not used(6, 300).is_unused  # the share itself is 2 %


def test_between_two_looks_nothing_changes():
    after = used(5, 301)
    assert after == used(5, 599).__class__(301, 5, False)
    assert used(5, 1200).is_unused


def test_the_looks_share_the_probability_of_being_wrong():
    looks = [RULES.tool_jobs * 2**look for look in range(12)]
    most = [max((calls for calls in range(99) if _passes(calls, jobs)), default=-1) for jobs in looks[:4]]
    shares = [sum(_chance(calls, jobs) for calls in range(each + 1)) for each, jobs in zip(most, looks, strict=False)]
    assert sum(shares) < DELTA


def _passes(calls, jobs):
    use = ToolUse(jobs - 1, calls).after(False, RULES)
    return use.is_unused


def _chance(calls, jobs):
    return math.comb(jobs, calls) * RULES.tool_use**calls * (1 - RULES.tool_use) ** (jobs - calls)


def test_the_tail_is_the_exact_one():
    assert seen_so_seldom(2, 300, 0.02) == pytest.approx(sum(_chance(calls, 300) for calls in range(3)))


def test_one_call_of_an_unused_tool_starts_the_count_again():
    assert used(0, 300).after(True, RULES) == ToolUse()


@pytest.mark.parametrize(
    ("message", "wants"),
    [
        ({"content": "I would need get_weather for that."}, True),
        ({"content": None, "tool_calls": [tool("get_weather")]}, True),
        ({"content": "Hello!", "tool_calls": [tool("look_up")]}, False),
    ],
)
def test_an_answer_asks_for_a_tool_by_calling_or_naming_it(message, wants):
    assert asks_for(Answer(message, "stop", Usage(), "m"), UNUSED) is wants


def test_a_tool_that_is_offered_thousands_of_times_has_few_places_on_record():
    request = {"messages": [{"role": "user", "content": "Hello."}], "tools": [tool("get_weather")] * 5000}
    assert len(left_out(request, UNUSED)) == MOST_PLACES
