"""What the same jobs would have cost elsewhere, and what each mechanism saved, to the nano-dollar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from accounts import ALL, Accounts, JobOf, again, call, catalogue_file, failed, job_id_of, nano, rules_in, written
from ledger_lines import NOON

from fleet.model.attempt import Usage
from fleet.model.calibration import Probe
from fleet.model.errors import ConfigError
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.reports.baselines import AnotherWay
from fleet.reports.mechanisms import Basis, Mechanism
from fleet.reports.periods import Period
from fleet.reports.savings import Question, SavingsReport, savings_report
from fleet.settings.documents import load_catalogue
from policies.rules.rules import Rules

SIMPLE, MEDIUM, COMPLEX = JobOf(), JobOf(task="plan.schedule"), JobOf(task="report.totals")


def report_of(
    accounts: Accounts, rules: Rules, feedback: Sequence[Feedback] | None = (), cloud: str | None = None
) -> SavingsReport:
    return savings_report(accounts.books(), Question(ALL, rules.catalogue, cloud), rules, feedback)


def baseline(report: SavingsReport, name: str) -> AnotherWay:
    return next(each for each in report.baselines if each.name == name)


def saved(report: SavingsReport, name: str) -> tuple[Basis, int | None, int | None]:
    found: Mechanism = next(each for each in report.mechanisms if each.name == name)
    return found.basis, found.low, found.high


@pytest.fixture
def week(accounts: Accounts) -> Accounts:
    """Three jobs: kept by the small model, escalated to the large one, and one that starts in the cloud."""
    accounts.book(0, SIMPLE.lines(1, call("small", Usage(1000, 100))))
    accounts.book(1, SIMPLE.lines(2, call("small", Usage(2000, 100)), call("large", Usage(2000, 200), number=2)))
    accounts.book(2, COMPLEX.lines(3, call("mini", Usage(3000, 300))))
    return accounts


SPENT = nano("small", 1000, 100) + nano("small", 2000, 100) + nano("large", 2000, 200) + nano("mini", 3000, 300)
DELIVERED = ((1000, 100), (2000, 200), (3000, 300))


@pytest.mark.parametrize("archived", [False, True])
def test_each_way_is_priced_with_the_tokens_of_the_delivered_answers(
    week: Accounts, rules: Rules, archived: bool
) -> None:
    if archived:
        week.archive()
        week.forget()
    report = report_of(week, rules)
    assert (report.jobs, report.spent.total) == (3, SPENT)
    assert baseline(report, "all_cloud").cost == sum(nano("big", *tokens) for tokens in DELIVERED)
    assert baseline(report, "cheapest_good_enough").cost == sum(nano("mini", *tokens) for tokens in DELIVERED)
    assert baseline(report, "all_large").cost == sum(nano("large", *tokens) for tokens in DELIVERED)


def test_a_named_cloud_target_takes_all_jobs(week: Accounts, rules: Rules) -> None:
    found = baseline(report_of(week, rules, cloud="mini"), "all_cloud")
    assert (dict(found.targets), found.chosen) == ({"mini": 3}, "mini, as asked for")


@pytest.mark.parametrize("cloud", ["large", "nobody"])
def test_a_target_that_is_not_in_the_cloud_is_refused(week: Accounts, rules: Rules, cloud: str) -> None:
    with pytest.raises(ConfigError, match=r"--cloud: must be a target outside the fleet: mini, big"):
        report_of(week, rules, cloud=cloud)


def test_spending_is_told_apart_by_who_gets_it(week: Accounts, rules: Rules) -> None:
    spent = report_of(week, rules).spent
    assert spent.paid == nano("mini", 3000, 300)
    assert spent.own == SPENT - spent.paid


def test_prices_of_another_date_are_another_catalogue(week: Accounts, rules: Rules, tmp_path: Path) -> None:
    text = catalogue_file(tmp_path, "2025-06-30").read_text().replace("20.0", "40.0")
    (tmp_path / "old.yaml").write_text(text)
    prices = load_catalogue(tmp_path / "old.yaml", "local")
    report = savings_report(week.books(), Question(ALL, prices), rules, ())
    assert report.prices_as_of == "2025-06-30"
    assert any("2025-06-30" in note for note in report.notes)
    dearer = sum(nano("big", *tokens) + round(1000 * 20 * tokens[1]) for tokens in DELIVERED)
    assert baseline(report, "all_cloud").cost == dearer


def test_a_price_list_without_a_target_of_the_ladders_is_refused(week: Accounts, rules: Rules) -> None:
    lacking = {name: target for name, target in rules.catalogue.targets.items() if name != "big"}
    with pytest.raises(ConfigError, match="--prices: has no target 'big'"):
        savings_report(week.books(), Question(ALL, replace(rules.catalogue, targets=lacking)), rules, ())


def test_a_catalogue_without_a_date_is_said_to_have_none(week: Accounts, rules: Rules) -> None:
    undated = replace(rules.catalogue, prices_as_of=None)
    report = savings_report(week.books(), Question(ALL, undated), rules, ())
    assert any("does not say when" in note for note in report.notes)


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


def test_a_cached_answer_counts_as_one_that_may_be_worse(accounts: Accounts, rules: Rules) -> None:
    compared(accounts, 1)
    accounts.book(0, SIMPLE.lines(2, again("small"), reason=Reason.CACHED))
    found = baseline(report_of(accounts, rules, [said(1, Verdict.GOOD)]), "all_large").quality
    assert found is not None
    assert found.kept == 1.0


def test_jobs_without_an_answer_are_in_the_fleet_s_cost_alone(accounts: Accounts, rules: Rules) -> None:
    lines = SIMPLE.lines(1, failed("big", 500), status=Status.FAILED, reason=Reason.ALL_FAILED)
    accounts.book(0, [*lines, *SIMPLE.lines(2, status=Status.EXPIRED, reason=Reason.DEADLINE_PASSED)])
    report = report_of(accounts, rules)
    assert (report.jobs, report.spent.total, report.spent.failed) == (0, 500, 500)
    assert {each.cost for each in report.baselines} == {0}
    assert any(note.startswith("2 jobs ended without an answer") for note in report.notes)


def test_jobs_on_their_tenants_own_keys_are_in_no_figure(accounts: Accounts, rules: Rules) -> None:
    accounts.book(0, JobOf(plan="own_key").lines(1, call("big", cost_nano_usd=0)))
    report = report_of(accounts, rules)
    assert (report.jobs, report.spent.total) == (0, 0)
    assert any(note.startswith("1 jobs ran on their tenants' own keys") for note in report.notes)


def test_an_answer_that_was_kept_for_want_of_a_better_is_priced(accounts: Accounts, rules: Rules) -> None:
    accounts.book(
        0,
        SIMPLE.lines(
            1,
            call("small", Usage(1000, 100)),
            failed("large", number=2),
            status=Status.BEST_EFFORT,
            reason=Reason.LADDER_EXHAUSTED,
        ),
    )
    assert baseline(report_of(accounts, rules), "all_cloud").cost == nano("big", 1000, 100)


def test_the_answer_that_was_delivered_is_priced_and_not_a_later_one(accounts: Accounts, rules: Rules) -> None:
    calls = (call("small", Usage(1000, 100)), call("large", Usage(5000, 900), number=2))
    *tried, last = SIMPLE.lines(1, *calls, status=Status.BEST_EFFORT, reason=Reason.LADDER_EXHAUSTED)
    end = replace(last, attempt=None, target="small")
    accounts.book(0, [*tried, replace(last, status=None), end])
    report = report_of(accounts, rules)
    assert report.jobs == 1
    assert baseline(report, "all_cloud").cost == nano("big", 1000, 100)


def test_a_job_whose_answer_is_on_a_day_not_read_is_counted_and_said(accounts: Accounts, rules: Rules) -> None:
    first, last = SIMPLE.lines(1, call("small"), failed("large", number=2), status=Status.BEST_EFFORT)
    accounts.book(0, [first])
    accounts.book(1, [last])
    report = savings_report(accounts.books(), Question(Period("2026-03-02", "2026-03-02"), rules.catalogue), rules, ())
    assert report.jobs == 0
    assert any(note.startswith("1 jobs had their answer on a day that was not read") for note in report.notes)


def test_lines_that_retention_deleted_before_they_were_archived_are_said_to_be_missing(
    week: Accounts, rules: Rules
) -> None:
    week.archive()
    week.forget()
    with week.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE days SET parquet = NULL WHERE day = '2026-03-01'")
    report = report_of(week, rules)
    assert any(note.startswith("1 lines of 2026-03-01 are gone") for note in report.notes)


def said(number: int, verdict: Verdict, target: str = "small", propensity: float = 0.01) -> Feedback:
    mark = f"shadow-{job_id_of(number)}-1"
    return Feedback(
        job_id_of(number), "acme", verdict, 1.0, Witness.SHADOW, target=target, propensity=propensity, id=mark
    )


def compared(accounts: Accounts, number: int, target: str = "large") -> None:
    lines = SIMPLE.lines(number, call("small"))
    accounts.book(0, [*lines, SIMPLE.comparison(number, call(target, number=2, reason=Reason.SHADOW))])


def test_quality_is_the_share_of_kept_answers_that_comparisons_disagree_with(accounts: Accounts, rules: Rules) -> None:
    for number in range(40):
        compared(accounts, number)
    escalated = (SIMPLE.lines(number, call("small"), call("large", number=2)) for number in range(40, 80))
    accounts.book(0, [line for lines in escalated for line in lines])
    feedback = [said(number, Verdict.BAD if number < 4 else Verdict.GOOD) for number in range(40)]
    found = baseline(report_of(accounts, rules, feedback), "all_large").quality
    assert found is not None
    assert (found.disagreed.n, found.disagreed.share, found.strong) == (40, 0.1, ("large",))
    point, low, high = found.points
    assert found.kept == 0.5
    assert low < point == -0.05 < high < 0


def test_answers_drawn_less_often_count_for_more(accounts: Accounts, rules: Rules) -> None:
    for number in (1, 2, 3):
        compared(accounts, number)
    feedback = [
        said(1, Verdict.BAD, propensity=0.01),
        said(2, Verdict.GOOD, propensity=0.02),
        said(3, Verdict.GOOD, propensity=0.02),
    ]
    found = baseline(report_of(accounts, rules, feedback), "all_large").quality
    assert found is not None
    assert found.disagreed.share == pytest.approx(0.5)
    assert found.disagreed.effective_n == pytest.approx(200**2 / (100**2 + 2 * 50**2))


def test_a_way_that_nothing_was_compared_with_has_no_quality(accounts: Accounts, rules: Rules) -> None:
    compared(accounts, 1)
    report = report_of(accounts, rules, [said(1, Verdict.GOOD)])
    assert baseline(report, "all_cloud").quality is None
    assert baseline(report, "all_large").quality is not None


def test_comparisons_of_answers_that_were_given_up_say_nothing_of_kept_ones(accounts: Accounts, rules: Rules) -> None:
    accounts.book(0, SIMPLE.lines(1, call("small"), call("large", number=2)))
    report = report_of(accounts, rules, [said(1, Verdict.BAD)])
    assert all(each.quality is None for each in report.baselines)


def test_feedback_that_could_not_be_read_leaves_quality_unknown_and_says_so(week: Accounts, rules: Rules) -> None:
    report = report_of(week, rules, feedback=None)
    assert "Quality is not known: the feedback could not be read." in report.notes


def judged(numbers: range, good: int) -> list[Feedback]:
    return [
        Feedback(
            job_id_of(number), "acme", Verdict.GOOD if place < good else Verdict.BAD, 1.0, id=f"user-{number:016d}"
        )
        for place, number in enumerate(numbers)
    ]


@pytest.mark.parametrize(("good", "proven", "chosen"), [(300, True, "mini"), (200, False, "big")])
def test_the_cheapest_cloud_model_must_not_be_proven_too_weak(
    accounts: Accounts, rules: Rules, good: int, proven: bool, chosen: str
) -> None:
    accounts.book(0, [line for number in range(300) for line in COMPLEX.lines(number, call("mini"))])
    accounts.book(0, [line for number in range(300, 600) for line in SIMPLE.lines(number, call("small"))])
    report = report_of(accounts, rules, judged(range(300), good) + judged(range(300, 600), 290))
    assert next(each.good_enough for each in report.models if each.target.name == "mini") is proven
    assert set(baseline(report, "cheapest_good_enough").targets) == {chosen}


def test_a_report_as_json_has_every_figure(week: Accounts, rules: Rules) -> None:
    found = report_of(week, rules).as_json()
    assert found["spent"]["total_nano_usd"] == SPENT
    assert {each["name"] for each in found["baselines"]} == {"all_cloud", "cheapest_good_enough", "all_large"}
    for each in found["baselines"]:
        assert each["saved_nano_usd"] == each["cost_nano_usd"] - SPENT
    assert {each["basis"] for each in found["mechanisms"]} <= {str(basis) for basis in Basis}


def test_a_fleet_without_models_of_its_own_has_no_largest_one(accounts: Accounts, tmp_path: Path) -> None:
    rules = rules_in(tmp_path)
    cloud = {name: target for name, target in rules.catalogue.targets.items() if target.is_cloud}
    accounts.book(0, COMPLEX.lines(1, call("mini")))
    catalogue = replace(rules.catalogue, targets=cloud)
    phases = {"only": replace(rules.phases["only"], simple=("mini",), medium=("mini",))}
    report = report_of(accounts, replace(rules, catalogue=catalogue, phases=phases))
    assert baseline(report, "all_large").cost is None
    assert saved(report, "own_models") == (Basis.RANGE, 0, 0)
