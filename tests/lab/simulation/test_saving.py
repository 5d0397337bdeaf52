"""Patterns, caches, shorter prompts and batches spare a simulated fleet what production's rules say they spare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.lab.simulation.engine import Engine
from fleet.lab.simulation.saving.prompts import TOOLS_DRAW, SentPrompts
from fleet.lab.simulation.saving.requests import Requests
from fleet.lab.simulation.saving.savings import SimulatedSavings, savings
from fleet.lab.simulation.simulate import SimulationReport, simulate
from fleet.lab.simulation.workload.ability import DRAWS, answers_of, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.mechanisms import Discounts, Mechanisms, PromptCaches, SemanticHits
from fleet.lab.simulation.workload.prompts import Parts, Prompts
from fleet.lab.simulation.workload.scenario import (
    Ability,
    ArrivalProcess,
    Kind,
    Length,
    Outage,
    Paid,
    ScalingKind,
    ScalingSetup,
    Scenario,
    check,
    in_force,
)
from fleet.lab.simulation.workload.study import SimulatedMechanism, Step, Study
from fleet.model.errors import ConfigError
from fleet.model.job import Lane
from policies.caching.patterns import Pattern, PatternList, PatternRules
from policies.money import nano_of
from policies.rules.diet import DietMode, DietRules
from policies.rules.rules import Rules
from policies.rules.sections import CacheMode

SURE = Ability(0.999, 0.999, 0.0)
PHRASES = PatternRules(
    {"phrases": PatternList("en", "2026-11-28", frozenset({"chat"}), (Pattern(("hi", "thanks"), "Hello!"),))},
    ("phrases",),
)
CACHED = {"chat": CacheMode.REPEATABLE}
THREAD = Parts(instructions=100, tools=500, message=50, turn=100)
TRIMMED = {"chat": DietRules(threads=DietMode.ON, thread_tokens=350, trim_to=0.6)}
TOOLLESS = {"chat": DietRules(tools=DietMode.ON, tool_jobs=150)}


def kind(**changes: Any) -> Kind:
    return Kind(**{"share": 1.0, "task": "chat", "input": Length(1000), "output": Length(100), **changes})


def scenario(*mix: Kind, mechanisms: Mechanisms | None = None, **changes: Any) -> Scenario:
    """Jobs for gpt-4o alone, one a second."""
    found = Scenario("test", 1000, ArrivalProcess(1.0), mix or (kind(),), phase="phase1", daily_usd=1000.0)
    usual: dict[str, Any] = {
        "paid": {"gpt-4o": Paid(0.5, 100.0)},
        "answers": {"gpt-4o": SURE},
        "scaling": ScalingSetup(by=ScalingKind.FIXED, every_seconds=600.0),
    }
    return replace(found, mechanisms=mechanisms or Mechanisms(), **{**usual, **changes})


def run(tested: Scenario, rules: Rules, jobs: int = 300) -> SimulationReport:
    check(tested, rules)
    return simulate(tested, in_force(tested, rules), jobs, 1)


def calls(report: SimulationReport) -> int:
    return report.targets["gpt-4o"].attempts


def test_a_phrase_that_is_written_down_takes_no_call(rules: Rules) -> None:
    phrases = kind(prompts=Prompts(texts=("hi", "how does it work", "Thanks!")))
    report = run(scenario(phrases, mechanisms=Mechanisms(patterns=PHRASES)), rules)
    assert report.without_call == {"pattern": 300 - calls(report)}
    assert 0.6 < report.without_call["pattern"] / 300 < 0.85  # 1 + 1/3 of 1 + 1/2 + 1/3
    assert report.split["pattern"] + report.split["gpt-4o"] == pytest.approx(1)


def test_a_phrase_is_sent_without_its_thread_only_if_it_is_written_down(rules: Rules) -> None:
    phrases = kind(prompts=Prompts(texts=("hi", "hey you")), parts=THREAD)
    with_list = run(scenario(phrases, mechanisms=Mechanisms(patterns=PHRASES)), rules)
    assert with_list.without_call["pattern"] == 300 - calls(with_list) > 0
    assert with_list.paid_usd == pytest.approx(calls(with_list) * (1000 * 2.5 + 100 * 10) / 1e6)


def test_each_question_is_paid_once_and_equal_jobs_wait_for_each_other(rules: Rules) -> None:
    asked = kind(prompts=Prompts(distinct=7, zipf=0.0))
    at_once = scenario(asked, mechanisms=Mechanisms(cache=CACHED), arrivals=ArrivalProcess(1.0, at_once=True))
    report = run(at_once, rules)
    assert (calls(report), report.without_call) == (7, {"coalesced": 293})
    spread = run(replace(at_once, arrivals=ArrivalProcess(0.1)), rules)
    assert calls(spread) == 7
    assert spread.without_call["exact"] > 280
    alone = run(replace(at_once, mechanisms=Mechanisms(cache=CACHED, coalesced=False)), rules)
    assert calls(alone) == 300


def test_other_wordings_and_tasks_that_are_not_listed_are_asked(rules: Rules) -> None:
    asked = kind(prompts=Prompts(distinct=1, wordings=100))
    assert 80 < calls(run(scenario(asked, mechanisms=Mechanisms(cache=CACHED)), rules)) <= 100
    assert calls(run(scenario(asked), rules)) == 300
    threads = replace(asked, prompts=Prompts(), parts=THREAD)
    assert calls(run(scenario(threads, mechanisms=Mechanisms(cache=CACHED)), rules)) == 300
    alone = replace(threads, parts=replace(THREAD, alone=True))
    assert calls(run(scenario(alone, mechanisms=Mechanisms(cache=CACHED, alone=True)), rules)) == 1


def test_an_answer_is_kept_as_long_and_as_many_as_the_rules_say(rules: Rules) -> None:
    asked = scenario(kind(prompts=Prompts(distinct=2, zipf=0.0)), mechanisms=Mechanisms(cache=CACHED))
    short = replace(rules, cache=replace(rules.cache, keep_seconds=60))
    assert calls(run(asked, short)) == pytest.approx(2 * 300 / 61, abs=2)
    few = replace(rules, cache=replace(rules.cache, entries=1))
    assert 50 < calls(run(asked, few)) < 150  # each makes room for the other; equal jobs still share a call


def test_counts_of_a_record_say_how_often_a_question_comes() -> None:
    assert Prompts(distinct=3, counts=(6, 3, 1)).weights() == pytest.approx([0.6, 0.3, 0.1])
    assert Prompts(distinct=2).weights() == pytest.approx([2 / 3, 1 / 3])


def test_jobs_that_waited_for_one_that_failed_ask_themselves(rules: Rules) -> None:
    away = {"gpt-4o": Paid(0.5, 100.0, outages=(Outage(0.0, 0.01),))}
    asked = kind(prompts=Prompts(), deadline_seconds=30.0)
    tested = scenario(asked, mechanisms=Mechanisms(cache=CACHED), paid=away)
    report = run(tested, rules, 100)
    assert sum(report.statuses.values()) == 100
    assert report.statuses["succeeded"] >= 60
    assert report.without_call["exact"] >= 50


def test_a_semantic_cache_answers_the_measured_share_of_other_wordings(rules: Rules) -> None:
    asked = kind(prompts=Prompts(distinct=1, wordings=100_000))
    half = Mechanisms(cache=CACHED, semantic=SemanticHits(found=0.5, wrong=0.1))
    report = run(scenario(asked, mechanisms=half), rules, 1000)
    assert report.without_call["semantic"] / 1000 == pytest.approx(0.6, abs=0.05)
    assert report.quality == pytest.approx(0.9, abs=0.03)
    threads = replace(asked, parts=THREAD)
    assert "semantic" not in run(scenario(threads, mechanisms=half), rules).without_call


def input_tokens(report: SimulationReport, jobs: int = 300) -> float:
    """The input tokens that were paid for, a job."""
    return (report.paid_usd / jobs - 100 * 10 / 1e6) / 2.5 * 1e6


def test_a_long_thread_is_cut_in_whole_turns(rules: Rules) -> None:
    """100 + 500 + 50, and so 350 of thread: three turns of 100, of which the first stays and the second goes."""
    thread = scenario(kind(parts=THREAD), mechanisms=Mechanisms(diet=TRIMMED))
    assert input_tokens(run(thread, rules)) == pytest.approx(900)
    off = replace(thread, mechanisms=Mechanisms(diet=TRIMMED, trimming=False))
    assert input_tokens(run(off, rules)) == pytest.approx(1000)


def test_a_warm_thread_is_cut_as_it_was_a_turn_ago(rules: Rules) -> None:
    warm = scenario(kind(parts=replace(THREAD, warm=1.0)), mechanisms=Mechanisms(diet=TRIMMED))
    assert input_tokens(run(warm, rules)) == pytest.approx(1000)  # two turns are within the budget


def test_tools_are_left_out_once_they_are_known_to_be_unused(rules: Rules) -> None:
    tools = scenario(kind(parts=THREAD), mechanisms=Mechanisms(diet=TOOLLESS))
    most = run(tools, rules, 900)
    sent = (input_tokens(most, 900) - 500) / 500
    assert 0.2 < sent < 0.7  # after 300 jobs at the latest, doublings of 150 being looked at
    assert run(replace(tools, mechanisms=Mechanisms()), rules, 900).paid_usd > most.paid_usd


def test_a_job_that_calls_a_tool_left_out_pays_for_two_calls_and_the_count_starts_again(rules: Rules) -> None:
    tested = scenario(kind(parts=replace(THREAD, tool_use=0.5)), mechanisms=Mechanisms(diet=TOOLLESS))
    in_use = in_force(tested, rules)
    sent = SentPrompts(tested, in_use, Requests(tested.mix, in_use.patterns))
    drawn = [SimulatedJob(0.0, 0, 1000, 100, 0, bits) for bits in range(1, 1 << 20, 997)]
    calls_a_tool = [job for job in drawn if hashed(job.bits, TOOLS_DRAW) >> 12 < DRAWS / 2]
    quiet = [job for job in drawn if job not in calls_a_tool]
    for job in quiet[:400]:
        sent.shorten(job)
    assert (quiet[0].input, quiet[399].input) == (1000, 500)

    usual, asks = calls_a_tool[:2]
    decisions = Engine(tested, in_use, {}, answers_of(tested.answers, 1, in_use)).decisions
    whole = decisions.cost(usual, in_use.catalogue.targets["gpt-4o"])
    sent.shorten(asks)
    both = decisions.cost(asks, in_use.catalogue.targets["gpt-4o"])
    assert both - whole == nano_of((500 * 2.5 + 100 * 10) / 1e6)

    sent.shorten(quiet[400])
    assert quiet[400].input == 1000


def test_what_the_provider_has_in_its_cache_costs_the_catalogues_price_of_it(rules: Rules) -> None:
    caches = PromptCaches(frozenset({"gpt-4o"}), least_tokens=600, seconds=60)
    prefix = run(scenario(kind(parts=THREAD), mechanisms=Mechanisms(prompt_caches=caches)), rules)
    first, later = (1000 * 2.5 + 1000) / 1e6, (400 * 2.5 + 600 * 1.25 + 1000) / 1e6
    assert prefix.paid_usd == pytest.approx(first + 299 * later, rel=1e-6)
    warm = kind(parts=replace(THREAD, warm=1.0))
    assert run(scenario(warm, mechanisms=Mechanisms(prompt_caches=caches)), rules).paid_usd == pytest.approx(
        300 * (100 * 2.5 + 900 * 1.25 + 1000) / 1e6
    )
    short = replace(caches, least_tokens=1024)
    whole = run(scenario(kind(parts=THREAD), mechanisms=Mechanisms(prompt_caches=short)), rules)
    assert whole.paid_usd == pytest.approx(300 * first)


def test_jobs_with_time_to_spare_go_into_batches_and_none_is_late(rules: Rules) -> None:
    batches = Discounts(batch=frozenset({"gpt-4o"}), never=0.1)
    patient = scenario(kind(lane=Lane.BULK), mechanisms=Mechanisms(discounts=batches))
    report = run(patient, rules)
    usual = run(replace(patient, mechanisms=Mechanisms()), rules)
    assert report.statuses == {"succeeded": 300}
    assert report.paid_usd / usual.paid_usd == pytest.approx(0.55, abs=0.02)  # one in ten batches never ends
    hasty = replace(patient, mix=(kind(lane=Lane.INTERACTIVE),))
    assert run(hasty, rules).paid_usd == pytest.approx(usual.paid_usd)


def test_the_flexible_tier_is_tried_where_the_rules_say_so_and_there_is_time(rules: Rules) -> None:
    usual = rules.catalogue.targets["gpt-4o"]
    flexible = replace(
        usual,
        name="gpt-4o-flex",
        service_tier="flex",
        same_as="gpt-4o",
        input_usd_per_million_tokens=1.25,
        output_usd_per_million_tokens=5.0,
    )
    targets = {**rules.catalogue.targets, flexible.name: flexible}
    catalogue = replace(rules.catalogue, targets=targets)
    on = replace(rules, catalogue=catalogue, discounts=replace(rules.discounts, flex=True))
    tested = scenario(
        kind(lane=Lane.BULK),
        kind(lane=Lane.INTERACTIVE),
        paid={name: Paid(0.5, 100.0) for name in ("gpt-4o", flexible.name)},
        answers={"gpt-4o": SURE, flexible.name: SURE},
    )
    report = run(tested, on)
    bulk = report.lanes[Lane.BULK].jobs
    assert 100 < bulk < 200
    assert report.targets[flexible.name].answers == bulk
    assert report.paid_usd == pytest.approx((300 - bulk / 2) * (1000 * 2.5 + 100 * 10) / 1e6)
    [discounts] = [each for each in savings(tested, on, 100, 1).mechanisms if each.mechanism == "discounts"]
    assert discounts.left_out == pytest.approx(0.25, abs=0.1)


STUDIED = scenario(
    kind(share=2.0, prompts=Prompts(texts=("hi", "thanks")), parts=THREAD),
    kind(share=2.0, prompts=Prompts(distinct=5, wordings=2), parts=replace(THREAD, alone=True)),
    kind(share=4.0, task="nudge.reminder", lane=Lane.BULK, parts=THREAD),
    kind(share=2.0, task="analyse.behaviour", parts=THREAD),
    mechanisms=Mechanisms(
        patterns=PHRASES,
        cache=CACHED,
        alone=True,
        semantic=SemanticHits(0.5),
        diet={
            "analyse.behaviour": TRIMMED["chat"],
            "nudge.reminder": replace(TOOLLESS["chat"], tool_jobs=20, tool_use=0.3),
        },
        discounts=Discounts(batch=frozenset({"gpt-4o-mini"})),
    ),
    paid={"gpt-4o-mini": Paid(0.5, 100.0), "gpt-4o": Paid(0.5, 100.0)},
    answers={"gpt-4o-mini": Ability(0.9, 0.9, 0.0), "gpt-4o": SURE},
    study=Study(
        "gpt-4o", (Step("half", (SimulatedMechanism.TOOLS,), 0.5), Step("all")), {SimulatedMechanism.TOOLS: 0.05}
    ),
)


@pytest.fixture(scope="module")
def studied(rules: Rules) -> SimulatedSavings:
    return savings(STUDIED, rules, 300, 1)


def test_each_mechanism_is_left_out_alone_and_tried_by_itself(studied: SimulatedSavings, rules: Rules) -> None:
    by_name = {each.mechanism: each for each in studied.mechanisms}
    assert list(by_name) == list(SimulatedMechanism)
    before, full = studied.before, studied.steps[-1]
    assert before.month_usd == pytest.approx((1000 * 2.5 + 100 * 10) / 1e6 * 86_400 * 30)
    without_tools = run(replace(STUDIED, mechanisms=replace(STUDIED.mechanisms, tools=False)), rules)
    tools = by_name[SimulatedMechanism.TOOLS]
    assert tools.left_out == pytest.approx((without_tools.month_usd - full.month_usd) / before.month_usd)
    assert 0.1 < tools.by_itself < 0.4 * 500 * 2.5 / 3500  # of the reminders, once they are known to call none
    assert (tools.claimed, by_name[SimulatedMechanism.PATTERNS].claimed) == (0.05, None)
    assert by_name[SimulatedMechanism.PATTERNS].by_itself == pytest.approx(0.2, abs=0.06)
    assert by_name[SimulatedMechanism.ROUTING].quality < 0 < by_name[SimulatedMechanism.ROUTING].left_out
    assert by_name[SimulatedMechanism.PROMPT_CACHE].left_out == by_name[SimulatedMechanism.PROMPT_CACHE].by_itself == 0


def test_a_step_is_held_against_its_claim_and_the_whole_against_a_cheap_model(studied: SimulatedSavings) -> None:
    half, full = studied.steps
    assert half.claimed_usd == pytest.approx(studied.before.month_usd / 2)
    assert half.holds is False
    assert full.month_usd < half.month_usd
    assert studied.good_enough is not None
    assert studied.good_enough.name == "gpt-4o"  # the small one is right nine times in ten
    assert studied.prices_as_of is not None


def test_a_fleet_without_a_target_to_compare_with_is_refused(rules: Rules) -> None:
    tested = replace(STUDIED, study=Study("claude-sonnet"))
    with pytest.raises(ConfigError, match=r"study.all_cloud: must be one of `paid`: gpt-4o-mini, gpt-4o"):
        savings(tested, rules, 10, 1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"mix": (kind(prompts=Prompts(distinct=0)),)}, "mix.0.prompts.distinct: must be 1 or more"),
    ({"mix": (kind(prompts=Prompts(distinct=2, counts=(1,))),)}, "mix.0.prompts.counts: must be 2, one for each"),
    ({"mix": (kind(prompts=Prompts(texts=("hi", " "))),)}, "mix.0.prompts.texts: must not have an empty message"),
    ({"mix": (kind(prompts=Prompts(texts=("hi",), wordings=2)),)}, "mix.0.prompts.wordings: does not go with texts"),
    ({"mix": (kind(parts=Parts(warm=2.0)),)}, "mix.0.parts.warm: must be between 0 and 1"),
    ({"mechanisms": Mechanisms(cache={"dance": CacheMode.ANY})}, "mechanisms.cache.dance: is not among the tasks"),
    ({"mechanisms": Mechanisms(semantic=SemanticHits(0.9, 0.2))}, "mechanisms.semantic: must have shares"),
    ({"mix": (kind(parts=Parts(turn=10)),)}, "mix.0.parts.turn: must not be less than message, which is 50"),
    ({"mechanisms": Mechanisms(diet={"dance": DietRules()})}, "mechanisms.diet.dance: is not among the tasks"),
    ({"mechanisms": Mechanisms(diet={"chat": DietRules(trim_to=2.0)})}, "mechanisms.diet.chat.trim_to: must be more"),
    (
        {"mechanisms": Mechanisms(discounts=Discounts(batch=frozenset({"llama-8b"})))},
        "mechanisms.discounts.batch: 'llama-8b' is no target outside the fleet",
    ),
    (
        {"mechanisms": Mechanisms(discounts=Discounts(median_seconds=9.0, p90_seconds=3.0))},
        "mechanisms.discounts.p90_seconds: must be more than median_seconds",
    ),
    ({"study": Study(steps=())}, "study.steps: must have at least one step"),
    ({"study": Study(claims={SimulatedMechanism.EXACT: 2.0})}, "study.claims.exact: must be between 0 and 1"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_makes_no_sense_is_refused_by_field_and_rule(changes: dict[str, Any], message: str, rules: Rules) -> None:
    mix = changes.pop("mix", ())
    with pytest.raises(ConfigError) as refused:
        check(replace(scenario(*mix), **changes), rules)
    assert str(refused.value).startswith(message)
