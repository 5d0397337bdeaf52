"""Tier and ladder of a job."""

from dataclasses import replace

import pytest

from fleet.model.job import Plan, Tier
from policies.features.needs import needs_of
from policies.routing.tiers import complexity, ladder, tier_of

LONG = "a " * 300


@pytest.mark.parametrize(
    ("text", "earlier", "score"),
    [
        ("Hello there", (), 0),
        ("What is the reason for it?", ("Hello",), 3),
        ("Please book a room for the team and tell everybody who is going to be there on time", (), 0),
        ("Please book a room for the team and tell everybody", ("Hello",), 3),
        ("Compare both offers and tell everybody in the team which of them is the better one today", (), 2),
        ("Draft a note to everybody in the team, so that they all know about the party next week", (), 2),
        ("Tell everybody in the team what the salary of the new colleague from the north will be", (), 1),
        ("Tell everybody in the whole team that ada@acme.test is the new address for the letters", (), 1),
        ("Tell everybody in the whole team that +44 20 7946 0000 is the new number for the letters", (), 1),
        (f"{LONG}book a room", (), 1),
        (f"Compare the salary trend and draft a story. {LONG}", ("Hello",), 9),
        (f"Compare the salary trend and draft a story, see the example. {LONG}", ("Hello",), 8),
        (f"What is the reason? Compare. {LONG}", ("Hello",), 4),
    ],
)
def test_complexity_adds_up_the_traits_it_finds(rules, text, earlier, score):
    messages = [{"role": "user", "content": turn} for turn in (*earlier, text)]
    assert complexity({"messages": messages}, rules.complexity) == score


def test_complexity_reads_text_parts_and_survives_an_empty_thread(rules):
    parts = [{"type": "text", "text": f"Compare the options. {LONG}"}, {"type": "image_url"}]
    assert complexity({"messages": [{"role": "user", "content": parts}]}, rules.complexity) == 3
    assert complexity({"messages": []}, rules.complexity) == 0


@pytest.mark.parametrize(("score", "tier"), [(3, Tier.SIMPLE), (4, Tier.MEDIUM), (6, Tier.MEDIUM), (7, Tier.COMPLEX)])
def test_a_task_without_a_tier_is_placed_by_its_score(rules, job, score, tier):
    weighed = replace(rules, complexity=replace(rules.complexity, multi_turn=score, simple=0))
    turns = [{"role": "user", "content": "Hello"}, {"role": "user", "content": "Hello again"}]
    assert tier_of(job("chat", request={"messages": turns}), weighed) is tier


@pytest.mark.parametrize(
    ("task", "tier", "expected"),
    [
        ("report.totals", Tier.SIMPLE, Tier.SIMPLE),
        ("report.totals", None, Tier.COMPLEX),
        ("chat", None, Tier.SIMPLE),
        ("unheard.of", None, Tier.SIMPLE),
    ],
)
def test_the_jobs_own_tier_beats_its_tasks_and_the_score_comes_last(rules, job, task, tier, expected):
    assert tier_of(job(task, tier=tier), rules) is expected


@pytest.mark.parametrize(
    ("phase", "plan", "names"),
    [
        ("phase1", Plan.PAID, ["gpt-4o-mini", "gpt-4o", "claude-sonnet"]),
        ("phase1", Plan.FREE, ["gpt-4o-mini"]),
        ("phase2", Plan.PAID, ["gpt-4o-mini", "gpt-4o", "claude-sonnet"]),
        ("phase2.5", Plan.PAID, ["groq-gpt-oss-20b", "gpt-4o-mini", "gpt-4o", "claude-sonnet"]),
        ("phase2.5", Plan.FREE, ["groq-gpt-oss-20b"]),
        ("phase3", Plan.FREE, ["llama-8b", "mixtral-8x7b", "llama-70b", "groq-gpt-oss-120b"]),
    ],
)
def test_a_phase_is_a_word_in_the_rules(rules, job, phase, plan, names):
    simple = job(plan=plan)
    in_phase = replace(rules, phase=phase)
    assert [target.name for target in ladder(simple, needs_of(simple.request, rules.estimates), in_phase)] == names


def test_a_model_fine_tuned_for_a_task_serves_that_task_unless_the_job_names_a_tier(rules, job):
    phase = replace(rules.phases["phase2"], tasks={"detect.issue": ("gpt-4o", "claude-sonnet")})
    tuned = replace(rules, phase="phase2", phases={"phase2": phase})
    needs = needs_of(job().request, rules.estimates)
    assert ladder(job("detect.issue"), needs, tuned)[0].name == "gpt-4o"
    assert ladder(job("check.form"), needs, tuned)[0].name == "gpt-4o-mini"
    assert ladder(job("detect.issue", tier=Tier.SIMPLE), needs, tuned)[0].name == "gpt-4o-mini"
