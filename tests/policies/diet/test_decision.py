"""When a call leaves something out: where it pays, where it must, and never twice in vain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.attempt import Answer, Usage
from fleet.model.calibration import Probe
from fleet.model.diet import Diet
from policies.diet.decision import Sent, diet_of, diet_of_probe, lacks_tools, may_fit, on_diet
from policies.rules.diet import AnswerBudget, DietMode, DietRules

NOW = 10_000.0
TOOLS = [{"type": "function", "function": {"name": name, "description": "word " * 50}} for name in ("look_up", "book")]
UNUSED = frozenset({"book"})
NOTHING = frozenset()


@pytest.fixture(scope="module")
def on(rules):
    def build(threads="off", tools="off", **changes):
        diet = DietRules(DietMode(threads), DietMode(tools), **{"thread_tokens": 1_000, **changes})
        return replace(rules, tasks={**rules.tasks, "chat": replace(rules.tasks["chat"], diet=diet)})

    return build


@pytest.fixture
def target(rules):
    return rules.catalogue.targets["claude-sonnet"]


@pytest.fixture
def long_job(job):
    turns = [{"role": role, "content": "word " * 100} for _ in range(8) for role in ("user", "assistant")]
    return job("chat", request={"messages": [*turns, {"role": "user", "content": "And now?"}], "tools": TOOLS})


def diet(job, target, rules, sent=None, unused=NOTHING, attempts=()):
    return diet_of(job, attempts, target, sent, unused, NOW, rules)


def test_nothing_is_left_out_unless_the_task_is_on_a_diet(long_job, target, rules, on):
    assert diet(long_job, target, rules, unused=UNUSED) is None
    assert diet(replace(long_job, task="other"), target, on("on", "on"), unused=UNUSED) is None


def test_a_cold_thread_over_its_budget_is_trimmed_in_whole_turns(long_job, target, on):
    found = diet(long_job, target, on("on"))
    assert (found.messages, found.message_tokens) == (((2, 14),), 12 * 129)
    assert len(on_diet(long_job.request, found)["messages"]) == 5


@pytest.mark.parametrize(("age", "trimmed"), [(0.0, False), (300.0, False), (301.0, True)])
def test_a_warm_thread_goes_out_as_it_did_before(long_job, target, on, age, trimmed):
    whole = diet(long_job, target, on("on"), Sent((), NOW - age))
    assert (whole is not None) is trimmed
    as_before = diet(long_job, target, on("on"), Sent(((2, 4),), NOW - age))
    assert as_before.messages == (((2, 14),) if trimmed else ((2, 4),))


def test_a_warm_thread_that_no_longer_fits_its_target_is_trimmed_all_the_same(long_job, target, on):
    small = replace(target, context_tokens=1_500)
    assert diet(long_job, small, on("on"), Sent((), NOW)).messages
    assert may_fit(long_job, small, on("on"))
    assert not may_fit(long_job, small, on("shadow")) and not may_fit(
        long_job, replace(small, context_tokens=500), on("on")
    )


def test_in_shadow_it_is_only_said_what_could_be_left_out(long_job, target, on):
    found = diet(long_job, target, on("shadow", "shadow"), unused=UNUSED)
    assert found.shadow and found.messages and found.tools == (1,)
    assert on_diet(long_job.request, found) is long_job.request


def test_what_is_on_is_left_out_before_what_is_only_tried(long_job, target, on):
    found = diet(long_job, target, on("shadow", "on"), unused=UNUSED)
    assert not found.shadow and not found.messages and found.tools == (1,) and found.tool_tokens > 50


def test_after_an_answer_that_did_not_suffice_the_request_is_sent_whole(long_job, target, on, answered):
    before = replace(answered(1, "llama-8b", 0.2), diet=Diet(((2, 4),), 200))
    assert diet(long_job, target, on("on", "on"), unused=UNUSED, attempts=(before,)) is None
    only_tried = replace(before, diet=replace(before.diet, shadow=True))
    assert diet(long_job, target, on("on", "on"), unused=UNUSED, attempts=(only_tried,)) is not None


def test_without_its_last_tool_a_request_has_no_choice_of_tools_either(job):
    request = {"messages": [], "tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False}
    assert on_diet(request, Diet(tools=(0, 1), tool_tokens=9)) == {"messages": []}


@pytest.mark.parametrize(
    ("content", "confidence", "lacks"),
    [("I cannot book that.", 0.9, True), ("Done.", 0.9, False), ("Done.", 0.0, True), ("Done.", None, False)],
)
def test_an_answer_that_names_a_tool_it_lacks_or_is_unusable_wants_all_of_them(
    long_job, answered, content, confidence, lacks
):
    given = answered(1, "llama-8b", confidence)
    on_it = replace(
        given, outcome=Answer({"content": content}, "stop", Usage(), "m"), diet=Diet(tools=(1,), tool_tokens=9)
    )
    assert lacks_tools(long_job, (on_it,)) is lacks
    assert not lacks_tools(long_job, (replace(on_it, diet=replace(on_it.diet, shadow=True)),))


def test_a_second_look_is_on_the_diet_of_its_answer_unless_the_request_has_changed(long_job, answered):
    cut = Diet(((2, 14),), 1548)
    look = replace(answered(2, "llama-8b", 0.5), probe=Probe.P_TRUE)
    attempts = (replace(answered(1, "llama-8b", 0.5), diet=cut), look)
    assert diet_of_probe(long_job, attempts) == cut
    longer = {**long_job.request, "messages": [{"role": "system", "content": "?"}, *long_job.request["messages"]]}
    assert diet_of_probe(replace(long_job, request=longer), attempts) is None
    tried = replace(attempts[0], diet=replace(cut, shadow=True))
    assert diet_of_probe(long_job, (tried, look)) is None


SHORT = {"gpt-4o": AnswerBudget(128, 60)}


def test_a_short_answer_is_asked_of_the_targets_that_are_named(long_job, on, rules):
    target = rules.catalogue.targets["gpt-4o"]
    found = diet(long_job, target, on(answers=SHORT))
    assert found == Diet(answer_tokens=128, answer_words=60) and found.has_budget and found.tokens == 0
    assert diet(long_job, rules.catalogue.targets["llama-70b"], on(answers=SHORT)) is None
    both = diet(long_job, target, on("on", answers=SHORT))
    assert both.messages and both.answer_tokens == 128


def test_a_short_answer_leaves_nothing_out_so_the_next_call_may(long_job, target, on, answered):
    before = replace(answered(1, "llama-8b", 0.2), diet=Diet(answer_tokens=128))
    assert diet(long_job, target, on("on"), attempts=(before,)).messages


@pytest.mark.parametrize(
    ("asked", "limits"),
    [
        ({}, {"max_tokens": 128}),
        ({"max_tokens": 500}, {"max_tokens": 128}),
        ({"max_tokens": 20}, {"max_tokens": 20}),
        ({"max_completion_tokens": 500}, {"max_completion_tokens": 128}),
    ],
)
def test_a_short_answer_is_limited_and_the_model_is_told(asked, limits):
    request = {"messages": [{"role": "user", "content": "Why?"}], **asked}
    short = on_diet(request, Diet(answer_tokens=128, answer_words=60))
    assert {name: value for name, value in short.items() if name != "messages"} == limits
    assert short["messages"] == [{"role": "system", "content": "Answer in at most 60 words."}, *request["messages"]]
    prompted = {"messages": [{"role": "system", "content": "Be kind."}, *request["messages"]]}
    told = on_diet(prompted, Diet(answer_tokens=128, answer_words=60))["messages"]
    assert [each["content"] for each in told] == ["Be kind.\n\nAnswer in at most 60 words.", "Why?"]
    assert on_diet(request, Diet(answer_tokens=128))["messages"] == request["messages"]
    assert on_diet(request, Diet(answer_tokens=128, shadow=True)) is request
