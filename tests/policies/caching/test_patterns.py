# ruff: noqa: RUF001 (letters that look alike are the point)
"""Which messages get an answer that is written down: what is one of them and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.model.action import Reply, Run
from fleet.model.errors import ConfigError
from fleet.model.reason import Reason
from policies.caching.patterns import READ_FIRST, Pattern, PatternList, PatternRules, normal_form, written_for
from policies.plan import next_action

HELLO = "Hello! How can I help?"


def greetings(**changes) -> PatternList:
    patterns = (Pattern(("hey", "what's up", "good morning"), HELLO), Pattern(("thanks",), "You are welcome."))
    plain = {"language": "en", "checked": "2026-11-28", "tasks": frozenset({"chat"}), "patterns": patterns}
    return PatternList(**{**plain, **changes})


@pytest.fixture
def patterned(rules):
    return replace(rules, patterns=PatternRules({"greetings": greetings()}, default=("greetings",)))


def said(*turns: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.mark.parametrize(
    "text",
    [
        "hey",
        "Hey!",
        "HEY 👋🏽",
        "  good\n morning ",
        "What’s up?",
        "whats up",
        "ｈｅｙ",
        "hey \u2764\ufe0f",
        "good" + "!" * 17 + "morning",
        "!" * 99 + "hey",
    ],
)
def test_a_message_is_known_apart_from_case_punctuation_and_emoji(patterned, job, view, text):
    action = next_action(job("chat", text), (), view(), 1_002.0, patterned)
    assert isinstance(action, Reply)
    assert (action.target, action.reason, action.answer.text) == ("pattern", Reason.PATTERN, HELLO)


@pytest.mark.parametrize(
    "text",
    ["hey, cancel my plan", "hey 2", "heyy", "not hey", "", "👋", "h e y", "hey\u200bo", "good evening", "hey " * 9],
)
def test_one_more_word_or_none_is_for_a_model(patterned, job, view, text):
    assert isinstance(next_action(job("chat", text), (), view(), 1_002.0, patterned), Run)


@pytest.mark.parametrize(
    ("request_", "is_known"),
    [
        (said(("system", "Be brief."), ("user", "hey")), True),
        (said(("user", [{"type": "text", "text": "hey"}])), True),
        ({"temperature": 0.3, "stream": True, "user": "u-1", "n": 1, "response_format": {"type": "text"}}, True),
        ({"model": "auto", "max_tokens": 64, "tools": None}, True),
        (said(("user", "hey"), ("assistant", "Hello!"), ("user", "hey")), False),
        (said(("user", "cancel it"), ("user", "hey")), False),
        (said(("user", "hey"), ("system", "Answer in verse.")), False),
        (said(("user", [{"type": "text", "text": "hey"}, {"type": "text", "text": "you"}])), False),
        ({"max_tokens": 5}, False),
        ({"max_completion_tokens": 5}, False),
        ({"n": 2}, False),
        ({"stop": ["!"]}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"tools": [{"type": "function", "function": {"name": "book"}}]}, False),
        ({"a_field_of_tomorrow": 1}, False),
        ({"model": "llama-8b"}, False),
    ],
)
def test_only_a_request_that_asks_for_nothing_else_is_answered(patterned, job, view, request_, is_known):
    action = next_action(job("chat", "hey", request=request_), (), view(), 1_002.0, patterned)
    assert isinstance(action, Reply) is is_known


def test_a_job_that_wants_a_better_answer_or_is_of_another_task_is_for_a_model(patterned, job, view):
    for changed in (job("chat", "hey", above="llama-8b"), job("nudge.recognition", "hey")):
        assert isinstance(next_action(changed, (), view(), 1_002.0, patterned), Run)


def test_a_tenant_has_its_own_lists_in_place_of_the_default_ones(rules, job, view):
    lists = {"greetings": greetings(), "short": greetings(patterns=(Pattern(("hey",), "Hi."),))}
    known = PatternRules(lists, ("greetings",), {"globex": ("short", "greetings"), "initech": ()})
    answers = {}
    for tenant in ("acme", "globex", "initech"):
        action = next_action(job("chat", "hey", tenant=tenant), (), view(), 1_002.0, replace(rules, patterns=known))
        answers[tenant] = action.answer.text if isinstance(action, Reply) else None
    assert answers == {"acme": HELLO, "globex": "Hi.", "initech": None}


def test_a_message_that_is_too_late_or_may_not_run_yet_is_not_answered(patterned, job, view):
    late = next_action(job("chat", "hey", deadline_at=1_001.0), (), view(), 1_002.0, patterned)
    early = next_action(job("chat", "hey", not_before_at=2_000.0), (), view(), 1_002.0, patterned)
    assert (late.reason, early.reason) == (Reason.DEADLINE_PASSED, Reason.DELAYED)


def test_a_list_is_due_when_it_was_checked_before_a_day():
    known = PatternRules({"old": greetings(checked="2026-11-20"), "new": greetings(checked="2026-11-21")})
    assert known.due("2026-11-21") == ["old"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"default": ("salutations",)}, "patterns.default"),
        ({"tenants": {"acme": ("salutations",)}}, "patterns.tenants.acme"),
        ({"tenants": {"a.b": ("greetings",)}}, "patterns.tenants.a.b"),
        ({"check_days": 0}, "patterns.check_days"),
        ({"lists": {"greetings": greetings(tasks=frozenset())}}, "patterns.lists.greetings.tasks"),
        ({"lists": {"greetings": greetings(tasks=frozenset({"chit"}))}}, "patterns.lists.greetings.tasks"),
        ({"lists": {"greetings": greetings(checked="last week")}}, "patterns.lists.greetings.checked"),
        ({"lists": {"greetings": greetings(language="English")}}, "patterns.lists.greetings.language"),
        (
            {"lists": {"greetings": greetings(patterns=(Pattern(("hey",), " "),))}},
            "patterns.lists.greetings.patterns.0.answer",
        ),
        (
            {"lists": {"greetings": greetings(patterns=(Pattern(("👋",), "Hi."),))}},
            "patterns.lists.greetings.patterns.0.asked",
        ),
        (
            {"lists": {"greetings": greetings(patterns=(Pattern(("hey",), "Hi."), Pattern(("Hey!",), "Ho.")))}},
            "patterns.lists.greetings.patterns.1.asked",
        ),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_by_name(rules, changes, field):
    plain = {"lists": {"greetings": greetings()}, "default": ("greetings",)}
    with pytest.raises(ConfigError) as refused:
        replace(rules, patterns=PatternRules(**{**plain, **changes}))
    assert refused.value.field == field


PIECES = st.sampled_from(
    ["hey", "what", "’", "s", "up", "good", "morning", " ", "\n", "!", "👋", "\u0301", "ﬁ", "x" * READ_FIRST]
)


NEARLY = st.tuples(st.sampled_from(["hey", "good morning"]), st.integers(0, 40)).map(
    lambda each: each[0] + "! " * each[1]
)


@given(text=st.lists(PIECES, max_size=30).map("".join) | NEARLY)
@settings(max_examples=200)
def test_the_beginning_of_a_long_message_decides_nothing_that_the_whole_would_not(text):
    lists = PatternRules({"greetings": greetings()}, default=("greetings",))
    assert written_for("acme", "chat", text, lists) == greetings().answers.get(normal_form(text))


@pytest.mark.parametrize("text", ["Straße", "STRASSE", "é", "e\u0301", "①", "don't", "डॉक्टर", "İ", "👩‍👩‍👧"])
def test_a_normal_form_is_its_own_normal_form(text):
    assert normal_form(normal_form(text)) == normal_form(text)
