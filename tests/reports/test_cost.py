"""The sums of `fleet cost` are those of the raw attempts to the nano-dollar, wherever they are read from."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from accounts import ALL, PRICES, Accounts, JobOf, again, call, failed, written
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.reports.cost import BY, cost_report
from fleet.reports.periods import Period
from fleet.reports.totals import Totals, total
from policies.rules.rules import Rules


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that has its tables: making them takes longer than all else."""
    folder = tmp_path_factory.mktemp("empty")
    Accounts(folder).engine.dispose()
    return folder


@dataclass(frozen=True)
class Booked:
    """A line, and the day that it belongs to."""

    day: int
    line: LedgerEntry


TASKS = ("classify.intent", "plan.schedule", "chat", "unheard.of")
COUNTS = st.integers(0, 10**9)
COSTS = st.one_of(st.integers(0, 5), st.integers(0, 10**12))
ANSWERED = st.builds(
    lambda target, tokens, cost: call(target, Usage(*tokens), cost),
    st.sampled_from(sorted(PRICES)),
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    COSTS,
)
KNOWN = st.sampled_from((again("small"), written()))
FAILED = st.builds(failed, st.sampled_from(sorted(PRICES)), COSTS)


@st.composite
def booked(draw: st.DrawFn) -> list[Booked]:
    """Lines of up to four days, in their order: attempts and ends, of some tenants and tasks."""
    found = []
    for number, day in enumerate(sorted(draw(st.lists(st.integers(0, 3), min_size=1, max_size=25)))):
        jobs = JobOf(
            draw(st.sampled_from(TASKS)),
            draw(st.sampled_from(("acme", "globex"))),
            draw(st.sampled_from(("free", "paid"))),
        )
        attempt = draw(st.one_of(st.none(), ANSWERED, KNOWN, FAILED))
        status = draw(st.sampled_from((Status.SUCCEEDED, Status.FAILED)))
        reason = draw(st.sampled_from((Reason.CONFIDENT, Reason.ALL_FAILED)))
        lines = jobs.lines(number, *([attempt] if attempt else []), status=status, reason=reason)
        found += [Booked(day, line) for line in lines]
    return found


def totals_of(attempt: Attempt | None, status: Status | None) -> Totals:
    """What one line adds up to, by hand."""
    if attempt is None:
        return Totals(lines=1, jobs=status is not None)
    usage = attempt.outcome.usage if isinstance(attempt.outcome, Answer) else Usage()
    return Totals(
        lines=1,
        attempts=attempt.target not in ("pattern", "exact"),
        jobs=status is not None,
        failures=not isinstance(attempt.outcome, Answer),
        cost_nano_usd=round(attempt.cost_usd * 1e9),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        attempt_seconds=attempt.ended_at - attempt.started_at,
    )


def key_of(each: Booked, by: str) -> str | None:
    line = each.line
    tiers = {"classify.intent": "simple", "plan.schedule": "medium"}
    return {
        "day": f"2026-03-0{each.day + 1}",
        "target": line.attempt.target if line.attempt else None,
        "tenant": line.tenant,
        "task": line.task,
        "tier": tiers.get(line.task or "", "by_request"),
        "reason": str(line.reason),
        "status": None if line.status is None else str(line.status),
        "lane": str(line.lane),
        "plan": line.plan,
    }[by]


def by_hand(lines: Sequence[Booked], by: Sequence[str]) -> dict[tuple[str | None, ...], Totals]:
    found: defaultdict[tuple[str | None, ...], Totals] = defaultdict(Totals)
    for each in lines:
        found[tuple(key_of(each, name) for name in by)] += totals_of(each.line.attempt, each.line.status)
    return dict(found)


@settings(max_examples=25)
@given(booked(), st.lists(st.sampled_from(BY), min_size=1, max_size=3, unique=True), st.sampled_from((None, "acme")))
def test_sums_are_those_of_the_raw_attempts_from_the_database_the_archive_or_both(
    empty: Path, rules: Rules, lines: list[Booked], by: list[str], tenant: str | None
) -> None:
    mine = [each for each in lines if tenant in (None, each.line.tenant)]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(empty, folder, dirs_exist_ok=True)
        accounts = Accounts(Path(folder))
        for each in lines:
            accounts.book(each.day, [each.line])
        for step in (lambda: None, accounts.archive, accounts.forget):
            step()
            report = cost_report(accounts.books(tenant), by, ALL, rules)
            assert {row.keys: row.sums for row in report.rows} == by_hand(mine, by)
            assert report.total == total(by_hand(mine, by).values())
        accounts.engine.dispose()


def test_a_day_is_read_from_its_file_once_it_has_one(accounts: Accounts, rules: Rules) -> None:
    for day in range(3):
        accounts.book(day, JobOf().lines(day, call("small")))
    accounts.archive()
    report = cost_report(accounts.books(), ["day"], ALL, rules)
    assert (report.archived, report.live) == (("2026-03-01", "2026-03-02"), ("2026-03-03",))


def test_only_the_days_asked_for_count(accounts: Accounts, rules: Rules) -> None:
    for day in range(4):
        accounts.book(day, JobOf().lines(day, call("small", cost_nano_usd=10**day)))
    accounts.archive()
    report = cost_report(accounts.books(), ["day"], Period("2026-03-02", "2026-03-03"), rules)
    assert [row.keys for row in report.rows] == [("2026-03-02",), ("2026-03-03",)]
    assert report.total.cost_nano_usd == 110


def test_what_cost_most_comes_first_and_days_come_in_their_order(accounts: Accounts, rules: Rules) -> None:
    for day, costs in enumerate(((1, 7), (9, 2))):
        for number, (target, cost) in enumerate(zip(("small", "large"), costs, strict=True)):
            accounts.book(day, JobOf().lines(10 * day + number, call(target, cost_nano_usd=cost)))
    by_target = cost_report(accounts.books(), ["target"], ALL, rules)
    assert [row.keys for row in by_target.rows] == [("small",), ("large",)]
    both = cost_report(accounts.books(), ["day", "target"], ALL, rules)
    assert [(row.keys[0][-1:], row.keys[1]) for row in both.rows if row.keys[0]] == [
        ("1", "large"),
        ("1", "small"),
        ("2", "small"),
        ("2", "large"),
    ]


def test_a_ledger_without_a_day_costs_nothing(accounts: Accounts, rules: Rules) -> None:
    report = cost_report(accounts.books(), ["tenant"], ALL, rules)
    assert (report.rows, report.total) == ((), Totals())
