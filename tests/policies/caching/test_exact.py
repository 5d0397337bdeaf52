"""What counts as the same request, and which answers are kept for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.model.action import Finish, Reply, Run
from fleet.model.attempt import Answer, Usage
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import SemanticMode
from fleet.model.job import Cloud, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import Status
from policies.caching import exact
from policies.caching.exact import LARGEST_CHARACTERS, entry_of, key_of, waits_for_another
from policies.caching.personal import is_personal
from policies.caching.questions import question_in
from policies.plan import next_action
from policies.rules.caching import CacheRules, SemanticRules
from policies.rules.diet import AnswerBudget, DietMode, DietRules
from policies.rules.sections import CacheMode

NOW = 1_002.0
COLD = {"temperature": 0}
ANOTHER = "job-another-0123456"


@pytest.fixture(scope="module")
def caching(rules):
    modes = {"chat": CacheMode.ANY, "classify.intent": CacheMode.REPEATABLE}
    return replace(
        rules, tasks={name: replace(each, cache=modes.get(name, each.cache)) for name, each in rules.tasks.items()}
    )


def test_the_order_of_fields_and_a_field_without_a_value_change_nothing(caching, job):
    first = job("classify.intent", request={"temperature": 0, "max_tokens": 8})
    second = job("classify.intent", request={"max_tokens": 8, "temperature": 0.0, "stop": None, "user": "u-1"})
    assert key_of(first, caching) == key_of(second, caching) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "globex"},
        {"task": "chat"},
        {"text": "Thank Ada Example for the launch!"},
        {"request": {**COLD, "max_tokens": 9}},
        {"request": {**COLD, "seed": 1}},
        {"request": {**COLD, "logit_bias": {"7": 1}}},
        {"request": {**COLD, "tools": [{"type": "function", "function": {"name": "book"}}]}},
        {"request": {**COLD, "response_format": {"type": "json_object"}}},
        {"request": {**COLD, "reasoning_effort": "high"}},
        {"request": {**COLD, "model": "llama-70b"}},
        {"tier": Tier.COMPLEX},
        {"plan": Plan.FREE},
        {"cloud": Cloud(frozenset({"openai"}))},
        {"regions": ("eu-central-1",)},
        {"metadata": {"critical": "true"}},
    ],
)
def test_whatever_can_change_the_answer_makes_another_request(caching, job, change):
    plain = key_of(job("classify.intent", request=COLD), caching)
    other = key_of(job(**{"task": "classify.intent", "request": COLD, **change}), caching)
    assert other is not None and other != plain


@pytest.mark.parametrize(("mode", "is_same"), [(DietMode.ON, False), (DietMode.SHADOW, True)])
def test_a_diet_that_is_on_makes_another_request(caching, job, mode, is_same):
    task = replace(caching.tasks["chat"], diet=DietRules(threads=mode))
    dieted = replace(caching, tasks={**caching.tasks, "chat": task})
    assert (key_of(job("chat"), dieted) == key_of(job("chat"), caching)) is is_same


def test_short_answers_are_kept_apart_from_whole_ones_and_from_shorter_ones(caching, job):
    def keyed(**answers):
        task = replace(caching.tasks["chat"], diet=DietRules(answers=answers))
        return key_of(job("chat"), replace(caching, tasks={**caching.tasks, "chat": task}))

    keys = {keyed(), keyed(**{"llama-8b": AnswerBudget(64)}), keyed(**{"llama-8b": AnswerBudget(64, 40)})}
    assert None not in keys and len(keys) == 3


def test_another_model_on_the_ladder_makes_another_request(caching, job):
    asked = job("classify.intent", request=COLD)
    targets = {
        name: replace(each, model=f"{each.model}-2") if name == "llama-8b" else each
        for name, each in caching.catalogue.targets.items()
    }
    renewed = replace(caching, catalogue=replace(caching.catalogue, targets=targets))
    assert key_of(asked, caching) != key_of(asked, renewed)


@pytest.mark.parametrize(
    "change",
    [
        {"request": {}},
        {"request": {"temperature": 0.2}},
        {"request": {**COLD, "n": 2}},
        {"request": {**COLD, "a_field_of_tomorrow": True}},
        {"request": {**COLD, "seed": 2**80}},
        {"text": "half a pair \ud800", "request": COLD},
        {"task": "nudge.recognition", "request": COLD},
        {"above": "llama-8b", "request": COLD},
        {"person": "p-81f2", "request": COLD},
        {"own_key": "openai/acme", "plan": Plan.OWN_KEY, "request": COLD},
    ],
)
def test_what_has_more_than_one_answer_or_is_not_listed_has_no_key(caching, job, change):
    assert key_of(job(**{"task": "classify.intent", **change}), caching) is None


def test_a_task_may_opt_in_to_answers_that_chance_has_a_part_in(caching, job):
    assert key_of(job("chat", request={"temperature": 0.7}), caching) is not None


def test_a_tenant_may_be_left_out(caching, job):
    without = replace(caching, cache=CacheRules(tenants={"acme": False}))
    assert key_of(job("chat"), without) is None
    assert key_of(job("chat", tenant="globex"), without) is not None


def test_more_jobs_than_are_remembered_have_keys_of_their_own(caching, job, monkeypatch):
    monkeypatch.setattr(exact, "MOST_KEYS", 3)
    asked = [job("classify.intent", f"Question {'x' * number}?", request=COLD) for number in range(9)]
    keys = [key_of(each, caching) for each in asked]
    assert len(set(keys)) == 9 and [key_of(each, caching) for each in asked] == keys
    assert len(exact._keys) <= 3


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=VALUES)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_has_a_key_or_none_and_the_same_each_time(caching, job, value):
    asked = job("chat", request={"logit_bias": value})
    found = key_of(asked, caching)
    assert found == key_of(asked, caching)
    assert found is None or len(found) == 64


def kept(entry: CacheEntry, view) -> Any:
    return replace(view(), entries={(entry.tenant, entry.key): entry})


@pytest.fixture
def answered_job(caching, job, answered):
    asked = job("classify.intent", request=COLD)
    return asked, (answered(1, "llama-8b", 0.97),)


def entry(asked, attempts, rules, status=Status.SUCCEEDED):
    return entry_of(asked, key_of(asked, rules), Finish(1, status, Reason.CONFIDENT), attempts, NOW, rules)


def test_an_answer_is_given_again_until_it_is_too_old(caching, answered_job, view):
    asked, attempts = answered_job
    found = entry(asked, attempts, caching)
    actions = [
        next_action(replace(asked, id=ANOTHER, submitted_at=at), (), kept(found, view), at, caching)
        for at in (NOW, NOW + 86_399.0, NOW + 86_400.0)
    ]
    assert [type(action) for action in actions] == [Reply, Reply, Run]
    assert (actions[0].target, actions[0].cached.job_id, actions[0].cached.usage) == ("exact", asked.id, Usage(10, 5))
    assert actions[0].answer.usage == Usage()


@pytest.mark.parametrize(
    ("kept_at", "ends_at", "rules_seconds"),
    [(NOW + 60.0, NOW + 120.0, 86_400.0), (NOW - 7_200.0, NOW + 1e9, 3_600.0)],
    ids=["answered in the future", "longer than the rules let it"],
)
def test_an_entry_that_claims_another_time_than_it_can_have_is_not_given(
    caching, answered_job, view, kept_at, ends_at, rules_seconds
):
    asked, attempts = answered_job
    rules = replace(caching, cache=CacheRules(keep_seconds=rules_seconds))
    claimed = replace(entry(asked, attempts, rules), answered_at=kept_at, expires_at=ends_at)
    assert isinstance(next_action(replace(asked, id=ANOTHER), (), kept(claimed, view), NOW, rules), Run)


def test_a_job_that_comes_back_is_not_given_its_own_answer_whose_price_is_in_no_account(caching, answered_job, view):
    asked, attempts = answered_job
    own = kept(entry(asked, attempts, caching), view)
    assert isinstance(next_action(asked, (), own, NOW, caching), Run)
    assert isinstance(next_action(replace(asked, id=ANOTHER), (), own, NOW, caching), Reply)


@pytest.mark.parametrize("status", [Status.BEST_EFFORT])
def test_an_answer_that_was_not_trusted_is_not_kept(caching, answered_job, status):
    assert entry(*answered_job, caching, status) is None


@pytest.mark.parametrize(
    "said",
    [
        "Write to ada@example.org.",
        "Her number is +49 30 901820.",
        "IBAN DE89 3704 0044 0532 0130 00",
        "Card 4111 1111 1111 1111",
        "Born 1990-02-03",
        "SSN 078-05-1120",
        "from 192.168.0.12",
        "What about my salary?",
        "What about my salary, Zoë?",
        "Ihre IBAN: DE89370400440532013000",
        "١٢٣٤٥٦٧٨٩٠",
        "AKIA0123456789ABCD",
        "at fe80:0:0:1::2",
        "token ghp_0123456789abcdef",
    ],
)
def test_what_is_personal_is_not_kept_whether_prompt_or_answer(caching, job, answered, said):
    plain, attempt = job("classify.intent", request=COLD), answered(1, "llama-8b", 0.97)
    told = replace(attempt, outcome=Answer({"role": "assistant", "content": said}, "stop", Usage(), "m"))
    assert entry(plain, (attempt,), caching) is not None
    assert entry(plain, (told,), caching) is None
    assert entry(job("classify.intent", said, request=COLD), (attempt,), caching) is None


def test_a_personal_prompt_waits_for_no_other_and_gets_no_answer_that_is_there_all_the_same(
    caching, job, answered_job, view
):
    plain, attempts = answered_job
    asked = job("classify.intent", "What about my salary?", request=COLD, deadline_at=1_010.0)
    there = replace(entry(plain, attempts, caching), key=key_of(asked, caching))
    assert isinstance(next_action(asked, (), kept(there, view), NOW, caching), Run)
    assert waits_for_another(replace(plain, deadline_at=1_010.0), NOW, caching)
    assert not waits_for_another(asked, NOW, caching)


def test_something_personal_is_no_question_of_the_semantic_cache(caching, job):
    semantic = SemanticRules(tasks={"classify.intent": SemanticMode.SHADOW})
    rules = replace(caching, cache=replace(caching.cache, semantic=semantic))
    assert question_in(job("classify.intent", request=COLD), rules) is not None
    assert question_in(job("classify.intent", "What about my salary?", request=COLD), rules) is None


@pytest.mark.parametrize(
    "text", ["Is it 4 or 5?", "version 1.2.3", "3/4 of all", "call me maybe", "at 10:30", "1,000,000"]
)
def test_a_number_alone_is_nothing_personal(text):
    assert not is_personal([text], frozenset({"salary"}))


def test_an_answer_from_the_cache_or_cut_short_is_not_kept(caching, answered_job, view):
    asked, (attempt,) = answered_job
    cut = replace(attempt, outcome=replace(attempt.outcome, finish_reason="length"))
    reply = next_action(replace(asked, id=ANOTHER), (), kept(entry(asked, (attempt,), caching), view), NOW, caching)
    again = replace(attempt, cached=reply.cached)
    assert entry(asked, (cut,), caching) is None and entry(asked, (again,), caching) is None


@pytest.mark.parametrize(("length", "is_kept"), [(LARGEST_CHARACTERS, True), (LARGEST_CHARACTERS + 1, False)])
def test_a_long_answer_is_kept_up_to_a_limit(caching, answered_job, length, is_kept):
    asked, (attempt,) = answered_job
    long = replace(attempt, outcome=replace(attempt.outcome, message={"role": "", "content": "y" * length}))
    assert (entry(asked, (long,), caching) is not None) is is_kept


def test_a_job_waits_for_another_answer_for_half_of_its_time(caching, job):
    asked = job("classify.intent", request=COLD, deadline_at=1_010.0)
    assert waits_for_another(asked, 1_004.9, caching) and not waits_for_another(asked, 1_005.0, caching)
