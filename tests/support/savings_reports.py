"""Reports of savings on books of round prices, and their parts by name."""

from __future__ import annotations

from collections.abc import Sequence

from accounts import ALL, Accounts, JobOf, nano

from fleet.model.feedback import Feedback
from fleet.reports.baselines import AnotherWay
from fleet.reports.mechanisms import Basis, Mechanism
from fleet.reports.savings import Question, SavingsReport, savings_report
from policies.rules.rules import Rules

SIMPLE, MEDIUM, COMPLEX = JobOf(), JobOf(task="plan.schedule"), JobOf(task="report.totals")

DELIVERED = ((1000, 100), (2000, 200), (3000, 300))
"""The tokens of the answers that the week of the fixture delivered, and what that week cost."""
SPENT = nano("small", 1000, 100) + nano("small", 2000, 100) + nano("large", 2000, 200) + nano("mini", 3000, 300)


def report_of(
    accounts: Accounts, rules: Rules, feedback: Sequence[Feedback] | None = (), cloud: str | None = None
) -> SavingsReport:
    return savings_report(accounts.books(), Question(ALL, rules.catalogue, cloud), rules, feedback)


def baseline(report: SavingsReport, name: str) -> AnotherWay:
    return next(each for each in report.baselines if each.name == name)


def saved(report: SavingsReport, name: str) -> tuple[Basis, int | None, int | None]:
    found: Mechanism = next(each for each in report.mechanisms if each.name == name)
    return found.basis, found.low, found.high
