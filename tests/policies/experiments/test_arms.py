"""What an arm changes in the rules and in a request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.model.caching import SemanticMode
from fleet.model.errors import ConfigError
from fleet.model.experiment import Arm, Experiment, Unit
from policies.caching.exact import key_of
from policies.experiments.arms import asked_in, check_document, in_arm, merged
from policies.features.needs import needs_of
from policies.routing.tiers import ladder
from policies.rules.caching import SemanticRules
from policies.rules.sections import CacheMode

ASKED = "classify.intent"


def of(arm: Arm, **changes: object) -> Experiment:
    return Experiment("trial", Unit.TENANT, (arm,), **changes)


def rungs(job, rules) -> list[str]:
    return [target.name for target in ladder(job, needs_of(job.request, rules.estimates), rules)]


def test_a_target_takes_the_place_of_the_first_rung(rules, job):
    arm = Arm("candidate", 0.1, target="groq-gpt-oss-120b")
    changed = in_arm(rules, of(arm), arm)
    before, after = rungs(job(), rules), rungs(job(), changed)
    assert after == ["groq-gpt-oss-120b", *[name for name in before[1:] if name != "groq-gpt-oss-120b"]]
    critical = job(metadata={"critical": "true"})
    assert rungs(critical, changed) == rungs(critical, rules)


def test_a_target_for_some_tasks_leaves_the_others_alone(rules, job):
    arm = Arm("candidate", 0.1, target="llama-70b")
    changed = in_arm(rules, of(arm, tasks=frozenset({"classify.intent"})), arm)
    assert rungs(job("classify.intent"), changed)[0] == "llama-70b"
    assert rungs(job("nudge.reminder"), changed) == rungs(job("nudge.reminder"), rules)


def test_a_cache_mode_is_of_the_experiments_tasks(rules):
    arm = Arm("candidate", 0.1, cache="any")
    changed = in_arm(rules, of(arm, tasks=frozenset({"chat"})), arm)
    assert changed.tasks["chat"].cache is CacheMode.ANY
    assert changed.tasks["classify.intent"].cache is rules.tasks["classify.intent"].cache


def test_an_arm_without_a_cache_compares_no_questions_of_its_tasks_either(rules):
    tasks = {**rules.tasks, **{name: replace(rules.tasks[name], cache=CacheMode.ANY) for name in ("chat", ASKED)}}
    shadow, guarantee = SemanticMode.SHADOW, SemanticMode.GUARANTEE
    semantic = SemanticRules(tasks={"chat": shadow, ASKED: shadow}, tenants={"acme": {"chat": guarantee}})
    caching = replace(rules, tasks=tasks, cache=replace(rules.cache, semantic=semantic))
    arm = Arm("candidate", 0.1, cache="off")
    changed = in_arm(caching, of(arm, tasks=frozenset({"chat"})), arm).cache.semantic
    assert changed.mode_of("acme", "chat") is changed.mode_of("globex", "chat") is SemanticMode.OFF
    assert changed.mode_of("acme", ASKED) is shadow


def test_an_arm_shares_no_cached_answer_with_the_control(rules, job):
    caching = replace(rules, tasks={name: replace(each, cache=CacheMode.ANY) for name, each in rules.tasks.items()})
    arm = Arm("candidate", 0.1, prompt="Be brief.")
    changed = in_arm(caching, of(arm), arm)
    keys = key_of(job(), caching), key_of(job(), changed)
    assert None not in keys
    assert keys[0] != keys[1]


def test_the_prompt_comes_first_and_the_request_given_stays_as_it_was(job):
    given = job().request
    asked = asked_in(Arm("candidate", 0.1, prompt="Be brief."), given)
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, *given["messages"]]
    assert len(given["messages"]) == 1
    assert asked_in(Arm("candidate", 0.1, target="llama-8b"), given) is given


def test_documents_are_merged_key_by_key():
    document = {"phases": {"phase3": {"simple": ["a"], "medium": ["b"]}}, "phase": "phase3"}
    assert merged(document, {"phases": {"phase3": {"simple": ["c"]}}}) == {
        "phases": {"phase3": {"simple": ["c"], "medium": ["b"]}},
        "phase": "phase3",
    }


def test_what_the_whole_fleet_shares_cannot_differ_from_arm_to_arm():
    document = {"money": {"daily_usd": 10}, "phase": "phase3"}
    check_document(document, {"money": {"daily_usd": 10}, "phase": "phase1"}, "arms.candidate.rules")
    with pytest.raises(ConfigError, match=r"arms\.candidate\.rules\.money: must be as in the rules in force"):
        check_document(document, {"money": {"daily_usd": 99}}, "arms.candidate.rules")
