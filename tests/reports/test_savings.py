"""What the same jobs would have cost elsewhere, to the nano-dollar, and how good the answers were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from accounts import ALL, Accounts, JobOf, again, call, catalogue_file, failed, job_id_of, nano, rules_in
from savings_reports import COMPLEX, DELIVERED, SIMPLE, SPENT, baseline, report_of, saved

from fleet.model.attempt import Usage
from fleet.model.errors import ConfigError
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.reports.mechanisms import Basis
from fleet.reports.periods import Period
from fleet.reports.savings import Question, savings_report
from fleet.settings.documents import load_catalogue
from policies.rules.rules import Rules


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
