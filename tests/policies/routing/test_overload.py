"""A job whose target is too busy to answer in time climbs, and only then; it comes back once the queue has drained."""

from dataclasses import replace

import pytest

from fleet.model.action import Run
from fleet.model.job import CLOUD_DENY, Cloud, Lane
from fleet.model.money import MoneyView
from fleet.model.reason import Reason
from fleet.model.scaling import Capacity
from fleet.model.view import Breaker, Sojourn, TargetView, View
from policies import money
from policies.plan import next_action
from policies.routing import overload
from policies.rules.sections import Residency, ResidencyRules

NOW = 1_000.0
HOUR = 3_600.0
GROQ = "groq-gpt-oss-120b"
ROUTED = Run("llama-8b", Reason.ROUTED)


def slow(seconds: float, lane: Lane = Lane.INTERACTIVE, **changes: object) -> TargetView:
    """A target on which jobs took so long, having found 400 others, of which `waiting` are there now."""
    known = {"answers": 20, "seen_at": NOW, "run_seconds": 1.0, "found": 400.0, "waiting": 400, **changes}
    return TargetView(sojourns={lane: Sojourn(seconds, **known)}, capacity=Capacity(1))


def busy(view, seconds: float = 25.0, **changes: object) -> View:
    """Llama 8B is slow; Mixtral and the 70B are not available."""
    return View({**view(without=("mixtral-8x7b", "llama-70b")).targets, "llama-8b": slow(seconds, **changes)})


@pytest.fixture
def asked(job):
    def build(left_seconds: float = 30.0, **changes):
        return job(**{"lane": Lane.INTERACTIVE, "deadline_at": NOW + left_seconds, **changes})

    return build


def test_a_job_that_would_be_late_goes_to_the_next_rung_that_is_in_time(rules, view, asked):
    assert next_action(asked(), (), busy(view), NOW, rules) == Run(GROQ, Reason.OVERLOADED)
    both = View({**view().targets, "llama-8b": slow(25.0), "mixtral-8x7b": slow(26.0)})
    assert next_action(asked(), (), both, NOW, rules) == Run("llama-70b", Reason.OVERLOADED)


@pytest.mark.parametrize(
    ("seconds", "left_seconds", "climbs"),
    [(20.9, 30.0, False), (21.1, 30.0, True), (21.1, 31.0, False), (2.2, 3.0, True)],
)
def test_late_is_measured_by_the_time_the_job_has_left(rules, view, asked, seconds, left_seconds, climbs):
    action = next_action(asked(left_seconds), (), busy(view, seconds), NOW, rules)
    assert (action.target == GROQ) is climbs


@pytest.mark.parametrize(
    "changes",
    [
        {"answers": 19},
        {"seen_at": NOW - 31},
        {"lane": Lane.STANDARD},
        {"waiting": 10},  # the queue has drained
    ],
)
def test_a_job_climbs_only_on_good_evidence(rules, view, asked, changes):
    assert next_action(asked(), (), busy(view, **changes), NOW, rules) == ROUTED


def test_a_wave_is_seen_as_it_comes_in(rules, view, asked):
    """Ten jobs found ahead took a second; four hundred now take longer, though none of those is answered yet."""
    coming = busy(view, 8.0, found=10.0, waiting=400)
    assert next_action(asked(), (), coming, NOW, rules) == Run(GROQ, Reason.OVERLOADED)
    assert next_action(asked(), (), busy(view, 8.0, found=10.0, waiting=64), NOW, rules) == ROUTED


def test_once_a_job_has_climbed_others_do_until_the_queue_has_drained(rules, view, asked):
    """At 15 of 30 seconds a job stays where none has climbed, and climbs where one has; at 11 it stays in any case."""
    for seconds, turns_away, target in ((15, False, "llama-8b"), (15, True, GROQ), (11, True, "llama-8b")):
        seen = busy(view, float(seconds), turns_away=turns_away)
        assert next_action(asked(), (), seen, NOW, rules).target == target


def test_a_job_that_has_climbed_does_not_come_back_and_says_why_it_is_there(rules, view, asked):
    """Its first target is free again; there it would wait a second time, and so would all that climbed."""
    climbed = Run(GROQ, Reason.OVERLOADED)
    assert next_action(asked(), (), busy(view, 1.0), NOW, rules, climbed) == climbed
    shut = busy(view, 1.0)
    shut = View({**shut.targets, GROQ: TargetView(breaker=Breaker(5, 1, NOW + 60))})
    assert next_action(asked(), (), shut, NOW, rules, climbed).target == "gpt-4o"


def test_a_job_whose_turn_has_come_climbs_only_if_its_run_alone_is_too_slow(rules, view, asked):
    assert next_action(asked(4.0), (), busy(view, 25.0, run_seconds=2.0), NOW, rules, ROUTED) == ROUTED
    rescued = next_action(asked(4.0), (), busy(view, 25.0, run_seconds=3.0), NOW, rules, ROUTED)
    assert rescued == Run(GROQ, Reason.OVERLOADED)


def test_a_bulk_job_with_hours_to_go_stays(rules, view, asked):
    seen = busy(view, 900.0, lane=Lane.BULK)
    assert next_action(asked(2 * HOUR, lane=Lane.BULK), (), seen, NOW, rules) == ROUTED
    assert next_action(asked(60.0, lane=Lane.BULK), (), seen, NOW, rules).reason is Reason.OVERLOADED


@pytest.mark.parametrize(
    "changes", [{"cloud": CLOUD_DENY}, {"cloud": Cloud(frozenset({"groq"}))}, {"max_cost_usd": 1e-3}]
)
def test_a_job_that_may_not_climb_stays(rules, view, asked, changes):
    """Of the later rungs only dear ones of OpenAI and Anthropic are to be had."""
    seen = View({**busy(view).targets, GROQ: TargetView(available=False)})
    assert next_action(asked(), (), seen, NOW, rules) == Run("gpt-4o", Reason.OVERLOADED)
    assert next_action(asked(**changes), (), seen, NOW, rules) == ROUTED


def test_a_job_does_not_climb_to_where_its_content_may_not_be_processed(rules, view, asked):
    at_home = replace(rules, residency=ResidencyRules(Residency(providers=frozenset({"fleet"}))))
    assert next_action(asked(), (), busy(view), NOW, at_home) == ROUTED
    placed = {
        name: replace(each, region="de" if name != GROQ else "us") for name, each in rules.catalogue.targets.items()
    }
    somewhere = replace(rules, catalogue=replace(rules.catalogue, targets=placed))
    assert next_action(asked(regions=("de",)), (), busy(view), NOW, somewhere) == Run("gpt-4o", Reason.OVERLOADED)


def test_a_job_stays_where_the_day_s_money_is_spent(rules, view, asked):
    spent = replace(busy(view), money=MoneyView(fleet=money.nano_of(rules.money.daily_usd)))
    assert next_action(asked(), (), spent, NOW, rules) == ROUTED


def test_a_job_stays_where_no_rung_is_in_time_or_open(rules, view, asked):
    shut = {name: Breaker(5, 1, NOW + 60) for name in (GROQ, "gpt-4o", "claude-sonnet")}
    nobody = busy(view)
    nobody = View({**nobody.targets, **{name: TargetView(breaker=each) for name, each in shut.items()}})
    assert next_action(asked(), (), nobody, NOW, rules) == ROUTED
    all_late = View({name: slow(25.0) for name in busy(view).targets})
    assert next_action(asked(), (), all_late, NOW, rules) == ROUTED


def test_an_answer_that_is_not_trusted_climbs_past_a_busy_rung(rules, view, asked, answered):
    seen = View({**view(without=("llama-70b",)).targets, "mixtral-8x7b": slow(25.0)})
    action = next_action(asked(), (answered(1, "llama-8b", 0.2),), seen, NOW, rules)
    assert action == Run(GROQ, Reason.OVERLOADED)


def test_the_rule_can_be_turned_off_for_a_lane(rules, view, asked):
    without = replace(rules, overload=replace(rules.overload, lanes=frozenset({Lane.STANDARD})))
    assert next_action(asked(), (), busy(view), NOW, without) == ROUTED


@pytest.mark.parametrize(
    ("found", "waiting", "factor"),
    [(10, 64, 1.0), (128, 64, 0.5), (128, 0, 0.5), (128, 256, 2.0), (64, 4_096, 3.0)],
)
def test_sojourns_are_scaled_by_the_queue_but_not_below_what_runs_at_once(rules, found, waiting, factor):
    sojourn = Sojourn(10.0, 20, NOW, found=found, waiting=waiting)
    target = rules.catalogue.targets["llama-8b"]
    assert overload.expected_seconds(sojourn, target, Capacity(1)) == pytest.approx(10.0 * factor)


def test_more_replicas_run_more_at_once(rules):
    sojourn = Sojourn(10.0, 20, NOW, found=64.0, waiting=256)
    target = rules.catalogue.targets["llama-8b"]
    assert overload.expected_seconds(sojourn, target, Capacity(4)) == pytest.approx(10.0)


def test_the_means_follow_the_answers(rules):
    sojourn = overload.answered(None, 10.0, 4.0, 100.0, NOW)
    for _ in range(60):
        sojourn = overload.answered(sojourn, 20.0, 8.0, 300.0, NOW + 1)
    assert (sojourn.answers, sojourn.seen_at) == (61, NOW + 1)
    assert sojourn.seconds == pytest.approx(20.0, rel=0.01)
    assert sojourn.run_seconds == pytest.approx(8.0, rel=0.01)
    assert sojourn.found == pytest.approx(300.0, rel=0.01)
