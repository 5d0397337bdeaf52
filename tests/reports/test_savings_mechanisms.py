"""What each mechanism saved, left out alone, to the nano-dollar."""

from __future__ import annotations

from dataclasses import replace

import pytest
from accounts import ALL, Accounts, JobOf, again, call, failed, nano, written
from ledger_lines import NOON
from savings_reports import COMPLEX, DELIVERED, SIMPLE, SPENT, baseline, report_of, saved

from fleet.model.attempt import Usage
from fleet.model.calibration import Probe
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.reports.mechanisms import Basis
from fleet.reports.savings import Question, savings_report
from policies.rules.rules import Rules


def test_confidence_saved_what_the_last_rung_would_have_cost_more(week: Accounts, rules: Rules) -> None:
    straight = sum(nano("big", *tokens) for tokens in DELIVERED)
    assert saved(report_of(week, rules), "confidence") == (Basis.ESTIMATE, straight - SPENT, straight - SPENT)


def test_own_models_saved_between_the_first_and_the_last_cloud_target(week: Accounts, rules: Rules) -> None:
    own = SPENT - nano("mini", 3000, 300)
    low, high = (sum(nano(target, *tokens) for tokens in DELIVERED[:2]) - own for target in ("mini", "big"))
    assert saved(report_of(week, rules), "own_models") == (Basis.RANGE, low, high)


def test_a_provider_s_cache_saved_exactly_the_difference_of_its_prices(accounts: Accounts, rules: Rules) -> None:
    usage = Usage(1000, 100, cached_input_tokens=800)
    accounts.book(0, COMPLEX.lines(1, call("mini", usage, cost_nano_usd=nano("mini", 200, 100) + 800 * 50)))
    assert saved(report_of(accounts, rules), "provider_cache") == (Basis.EXACT, 800 * 150, 800 * 150)


def test_a_cache_that_is_written_and_hardly_read_cost_more_than_it_saved(accounts: Accounts, rules: Rules) -> None:
    read = Usage(1000, 100, cached_input_tokens=800)
    written = Usage(1000, 100, cache_write_tokens=600, cache_write_1h_tokens=400)
    accounts.book(0, [*COMPLEX.lines(1, call("mini", read)), *COMPLEX.lines(2, call("big", written))])
    report = report_of(accounts, rules)
    lost = 200 * 500 + 400 * 2000
    assert saved(report, "provider_cache.openai") == (Basis.EXACT, 800 * 150, 800 * 150)
    assert saved(report, "provider_cache.anthropic") == (Basis.EXACT, -lost, -lost)
    assert saved(report, "provider_cache") == (Basis.EXACT, 800 * 150 - lost, 800 * 150 - lost)


def test_a_cloud_target_gives_others_the_cache_discount_that_it_gave_the_fleet(
    accounts: Accounts, rules: Rules
) -> None:
    half = Usage(1000, 0, cached_input_tokens=500)
    accounts.book(0, [*COMPLEX.lines(1, call("mini", half)), *SIMPLE.lines(2, call("small", Usage(400, 0)))])
    found = baseline(report_of(accounts, rules, cloud="mini"), "all_cloud")
    assert found.cost == (500 + 200) * 200 + (500 + 200) * 50


def test_a_cloud_target_asks_others_for_the_writes_that_it_asked_the_fleet_for(
    accounts: Accounts, rules: Rules
) -> None:
    written = Usage(1000, 0, cached_input_tokens=200, cache_write_tokens=300, cache_write_1h_tokens=100)
    accounts.book(0, [*COMPLEX.lines(1, call("big", written)), *SIMPLE.lines(2, call("small", Usage(500, 0)))])
    found = baseline(report_of(accounts, rules, cloud="big"), "all_cloud")
    assert found.cost == 1.5 * (500 * 2000 + 200 * 2000 + 200 * 2500 + 100 * 4000)


def test_the_own_models_cache_is_no_provider_s(accounts: Accounts, rules: Rules) -> None:
    accounts.book(0, SIMPLE.lines(1, call("small", Usage(1000, 100, cached_input_tokens=900))))
    report = report_of(accounts, rules)
    assert saved(report, "provider_cache") == (Basis.EXACT, 0, 0)
    assert baseline(report, "all_cloud").cost == nano("big", 1000, 100)


def test_a_second_look_saved_the_next_rung_less_the_look(accounts: Accounts, rules: Rules) -> None:
    look = call("small", Usage(1100, 1), number=2, probe=Probe.P_TRUE, reason=Reason.GREY_BAND)
    accounts.book(0, SIMPLE.lines(1, call("small", Usage(1000, 100)), look))
    report = report_of(accounts, rules)
    gain = nano("large", 1000, 100) - nano("small", 1100, 1)
    assert saved(report, "second_looks") == (Basis.ESTIMATE, gain, gain)
    assert report.spent.second_looks == nano("small", 1100, 1)
    assert baseline(report, "all_cloud").cost == nano("big", 1000, 100)


def test_comparisons_cost_what_they_cost(accounts: Accounts, rules: Rules) -> None:
    compared = SIMPLE.comparison(1, call("large", Usage(1000, 100), number=2, reason=Reason.SHADOW))
    accounts.book(0, [*SIMPLE.lines(1, call("small")), compared])
    report = report_of(accounts, rules)
    cost = nano("large", 1000, 100)
    assert saved(report, "comparisons") == (Basis.EXACT, -cost, -cost)
    assert (report.jobs, report.spent.comparisons) == (1, cost)


def test_a_router_that_is_on_cannot_be_valued(week: Accounts, rules: Rules) -> None:
    assert saved(report_of(week, rules), "learned_router") == (Basis.ABSENT, 0, 0)
    routed = replace(rules, router=replace(rules.router, enabled=True))
    assert saved(report_of(week, routed), "learned_router") == (Basis.UNKNOWN, None, None)


def test_a_cheaper_tier_of_service_saved_the_difference_to_the_usual_one(accounts: Accounts, rules: Rules) -> None:
    big = rules.catalogue.targets["big"]
    flex = replace(
        big,
        name="flex",
        service_tier="flex",
        input_usd_per_million_tokens=1.0,
        output_usd_per_million_tokens=10.0,
    )
    catalogue = replace(rules.catalogue, targets={**rules.catalogue.targets, "flex": flex})
    accounts.book(0, COMPLEX.lines(1, call("flex", Usage(1000, 100), cost_nano_usd=nano("big", 1000, 100) // 2)))
    with_tiers = replace(rules, catalogue=catalogue)
    half = nano("big", 1000, 100) // 2
    assert saved(report_of(accounts, with_tiers), "service_tiers") == (Basis.EXACT, half, half)
    others = replace(catalogue, targets={**catalogue.targets, "big": replace(big, model="another")})
    report = savings_report(accounts.books(), Question(ALL, others), with_tiers, ())
    assert saved(report, "service_tiers") == (Basis.UNKNOWN, None, None)


def test_a_cheaper_equal_at_another_provider_saved_the_difference_to_its_original(
    accounts: Accounts, rules: Rules
) -> None:
    elsewhere = replace(
        rules.catalogue.targets["big"],
        name="elsewhere",
        same_as="big",
        model="vendor/big",
        input_usd_per_million_tokens=1.0,
        output_usd_per_million_tokens=10.0,
    )
    catalogue = replace(rules.catalogue, targets={**rules.catalogue.targets, "elsewhere": elsewhere})
    accounts.book(0, COMPLEX.lines(1, call("elsewhere", Usage(1000, 100), cost_nano_usd=nano("big", 1000, 100) // 2)))
    half = nano("big", 1000, 100) // 2
    with_equal = replace(rules, catalogue=catalogue)
    assert saved(report_of(accounts, with_equal), "service_tiers") == (Basis.EXACT, half, half)


def test_batches_saved_the_difference_to_calls_at_once_less_what_given_up_rows_cost(
    accounts: Accounts, rules: Rules
) -> None:
    batch = replace(
        rules.catalogue.targets["big"],
        name="big-batch",
        same_as="big",
        service_tier="batch",
        input_usd_per_million_tokens=1.0,
        output_usd_per_million_tokens=10.0,
    )
    catalogue = replace(rules.catalogue, targets={**rules.catalogue.targets, "big-batch": batch})
    half = nano("big", 1000, 100) // 2
    accounts.book(0, COMPLEX.lines(1, call("big-batch", Usage(1000, 100), cost_nano_usd=half)))
    accounts.book(0, COMPLEX.lines(2, failed("big-batch", 300), call("big", Usage(1000, 100), number=2)))
    report = report_of(accounts, replace(rules, catalogue=catalogue))
    assert saved(report, "batch_files") == (Basis.EXACT, half - 300, half - 300)
    assert saved(report, "service_tiers") == (Basis.EXACT, 0, 0)


@pytest.mark.parametrize(
    "name", ["pattern_answers", "exact_cache", "together", "semantic_cache", "trimming", "batch_files"]
)
def test_what_is_not_there_or_switched_off_saved_nothing_and_is_said_to_be_absent(
    week: Accounts, rules: Rules, name: str
) -> None:
    assert saved(report_of(week, rules), name) == (Basis.ABSENT, 0, 0)


@pytest.fixture(params=[False, True], ids=["live", "archived"])
def known(request: pytest.FixtureRequest, accounts: Accounts) -> Accounts:
    """Four jobs: a call, its answer given twice again, and an answer that is written down."""
    chat = JobOf(task="chat")
    accounts.book(0, SIMPLE.lines(1, call("small", Usage(1000, 100))))
    accounts.book(0, SIMPLE.lines(2, again("small", Usage(1000, 100)), reason=Reason.CACHED))
    accounts.book(0, COMPLEX.lines(3, again("big", Usage(3000, 300)), reason=Reason.CACHED))
    accounts.book(0, chat.lines(4, written(Usage(10, 5)), reason=Reason.PATTERN))
    if request.param:
        accounts.book(1, SIMPLE.lines(5, status=Status.EXPIRED, reason=Reason.DEADLINE_PASSED))
        accounts.archive()
        accounts.forget()
    return accounts


def test_another_way_answers_what_was_answered_without_a_call_as_well(known: Accounts, rules: Rules) -> None:
    report = report_of(known, rules)
    tokens = ((1000, 100), (1000, 100), (3000, 300), (10, 5))
    assert (report.jobs, report.spent.total) == (4, nano("small", 1000, 100))
    found = baseline(report, "all_cloud")
    assert (found.cost, dict(found.targets)) == (sum(nano("big", *each) for each in tokens), {"big": 4})
    assert baseline(report, "all_large").cost == sum(nano("large", *each) for each in tokens)


def test_the_cache_saved_the_same_calls_again_and_patterns_a_call_of_the_first_target(
    known: Accounts, rules: Rules
) -> None:
    report = report_of(known, rules)
    again_cost = nano("small", 1000, 100) + nano("big", 3000, 300)
    assert saved(report, "exact_cache") == (Basis.ESTIMATE, again_cost, again_cost)
    first = nano("small", 10, 5)
    assert saved(report, "pattern_answers") == (Basis.ESTIMATE, first, first)
    straight = nano("big", 1000, 100) - report.spent.total
    assert saved(report, "confidence") == (Basis.ESTIMATE, straight, straight)
    counts = {each.name: each.jobs for each in report.mechanisms}
    assert (counts["exact_cache"], counts["pattern_answers"], counts["confidence"], counts["own_models"]) == (
        2,
        1,
        1,
        1,
    )
    assert counts["provider_cache"] is None
    assert any("written down is an estimate" in note for note in report.notes)


@pytest.mark.parametrize("is_archived", [False, True])
def test_jobs_answered_together_are_told_apart_from_those_of_the_exact_cache(
    accounts: Accounts, rules: Rules, is_archived: bool
) -> None:
    later = again("small", Usage(1000, 100), at=NOON + 1)
    accounts.book(0, SIMPLE.lines(1, again("small", Usage(500, 10)), reason=Reason.CACHED))
    accounts.book(0, SIMPLE.lines(2, later, reason=Reason.CACHED))
    if is_archived:
        accounts.book(1, SIMPLE.lines(4, status=Status.EXPIRED, reason=Reason.DEADLINE_PASSED))
        accounts.archive()
        accounts.forget()
    report = report_of(accounts, rules)
    by_name = {each.name: (each.low, each.jobs) for each in report.mechanisms}
    assert by_name["exact_cache"] == (nano("small", 500, 10), 1)
    assert by_name["together"] == (nano("small", 1000, 100), 1)
    assert report.jobs == 2


def test_the_cache_of_a_target_that_is_gone_saved_a_call_of_the_first_one(accounts: Accounts, rules: Rules) -> None:
    accounts.book(0, SIMPLE.lines(1, again("gone", Usage(1000, 100)), reason=Reason.CACHED))
    first = nano("small", 1000, 100)
    assert saved(report_of(accounts, rules), "exact_cache") == (Basis.ESTIMATE, first, first)


def test_answers_to_questions_that_sound_alike_are_a_mechanism_of_their_own(accounts: Accounts, rules: Rules) -> None:
    similar = replace(again("small", Usage(1000, 100)), target="semantic", reason=Reason.SIMILAR)
    accounts.book(0, SIMPLE.lines(1, similar, reason=Reason.SIMILAR))
    report, cost = report_of(accounts, rules), nano("small", 1000, 100)
    assert saved(report, "semantic_cache") == (Basis.ESTIMATE, cost, cost)
    assert saved(report, "exact_cache") == (Basis.ABSENT, 0, 0)
    assert report.jobs == 1


def test_an_answer_without_a_call_whose_tokens_nobody_told_is_in_no_figure(accounts: Accounts, rules: Rules) -> None:
    accounts.book(0, SIMPLE.lines(1, written(None), reason=Reason.PATTERN))
    report = report_of(accounts, rules)
    assert report.jobs == 0
    assert any(note.startswith("1 jobs were answered without a call") for note in report.notes)
