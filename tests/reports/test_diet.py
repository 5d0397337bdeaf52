"""What calls left out, what that saved, and how often two answers agreed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from accounts import ALL, Accounts, JobOf, call, failed, nano

from fleet.model.attempt import Attempt, Usage
from fleet.model.diet import Diet
from fleet.model.reason import Reason
from fleet.reports.diet import diet_report
from fleet.reports.mechanisms import Basis
from fleet.reports.savings import Question, savings_report
from policies.rules.rules import Rules

CHAT, TRIMMED = JobOf(task="chat"), Diet(((2, 8),), 3000, (1,), 500)


def on(diet: Diet, attempt: Attempt) -> Attempt:
    return replace(attempt, diet=diet)


def compared(agreed: bool | None) -> Attempt:
    diet = replace(TRIMMED, shadow=True, agreed=agreed)
    return on(diet, call("big", reason=Reason.SHADOW, number=2))


@pytest.fixture(params=[False, True], ids=["live", "archived"])
def dieted(request: pytest.FixtureRequest, accounts: Accounts) -> Accounts:
    """Three calls with a diet, one made again for its tools, one that is only tried, and four comparisons."""
    accounts.book(0, CHAT.lines(1, on(TRIMMED, call("big"))))
    accounts.book(0, [*CHAT.lines(2, on(TRIMMED, call("big")), call("big", number=2))])
    accounts.book(0, [replace(each, reason=Reason.TOOLS_RESTORED) for each in CHAT.lines(3, on(TRIMMED, call("big")))])
    accounts.book(1, CHAT.lines(4, on(replace(TRIMMED, shadow=True), call("small"))))
    accounts.book(1, CHAT.lines(5, call("big")))
    for number, agreed in enumerate((True, True, False, None)):
        accounts.book(1, [CHAT.comparison(number, compared(agreed))])
    accounts.book(1, [CHAT.comparison(9, on(replace(TRIMMED, shadow=True), failed("big", number=2)))])
    if request.param:
        accounts.book(2, CHAT.lines(10, call("small")))
        accounts.archive()
        accounts.forget()
    return accounts


def test_the_report_counts_calls_and_comparisons_by_task_and_target(dieted: Accounts) -> None:
    big, small = diet_report(dieted.books(), ALL).rows
    assert (big.task, big.target, big.calls, big.left_out_tokens, big.spare_tokens) == ("chat", "big", 3, 10_500, 0)
    assert (big.restored, big.comparisons, big.unclear) == (1, 4, 1)
    assert big.agreed is not None and (big.agreed.n, round(big.agreed.share, 3)) == (3, 0.667)
    assert big.agreed.low < 0.25 and big.agreed.high > 0.9
    assert (small.calls, small.left_out_tokens, small.spare_tokens, small.agreed) == (1, 0, 3500, None)


def test_what_was_left_out_saved_its_price_less_the_calls_made_again(dieted: Accounts, rules: Rules) -> None:
    report = savings_report(dieted.books(), Question(ALL, rules.catalogue), rules, ())
    found = next(each for each in report.mechanisms if each.name == "trimming")
    saved = nano("big", 3 * 3500, 0) - nano("big", 1000, 100)
    assert (found.basis, found.low, found.high) == (Basis.ESTIMATE, saved, saved)


def test_a_call_on_a_tenants_own_key_saved_the_fleet_nothing(accounts: Accounts, rules: Rules) -> None:
    accounts.book(0, JobOf(task="chat", plan="own_key").lines(1, on(TRIMMED, call("big", Usage(1, 1), 0))))
    report = savings_report(accounts.books(), Question(ALL, rules.catalogue), rules, ())
    assert next(each for each in report.mechanisms if each.name == "trimming").basis is Basis.ABSENT
