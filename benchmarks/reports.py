"""Measures reports about money: `python -m benchmarks.reports [attempts] [--json]`, by default of a million attempts.

The attempts are spread over DAYS days and three targets in a SQLite ledger: first without an archive (sums come from
the rollups, lines from the database), then with all days but the last one in Parquet. Processor time, unlike the time
that passes, hardly depends on what else runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import text

from benchmarks.report import show
from fleet.ledger.archive import archive_closed_days
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, LedgerLine, Status
from fleet.reports.books import ReportBooks
from fleet.reports.cost import cost_report
from fleet.reports.page import TABLES, PageCosts, page
from fleet.reports.periods import Period
from fleet.reports.savings import Question, savings_report
from fleet.settings.documents import load_rules
from policies.rules.rules import Rules
from queues.wire.ledger import encode_ledger

ATTEMPTS = 1_000_000
DAYS = 10
BATCH = 2_000
NOON = 1_772_366_400.0
"""2026-03-01 12:00:00 UTC."""

TARGETS = ("llama-8b", "mixtral-8x7b", "gpt-4o")
TASKS = ("classify.intent", "plan.schedule", "coach.reply", "report.totals")
PERIOD = Period("2026-03-01", "2026-03-31")


def entry(number: int) -> LedgerEntry:
    usage = Usage(200 + number % 300, 20 + number % 50)
    cost = (number % 977 + 1) / 1e9
    answer = Answer({}, "stop", usage, "model")
    target = TARGETS[number % 3]
    attempt = Attempt(1, target, Reason.ROUTED, NOON, NOON + 0.25, answer, confidence=0.9, cost_usd=cost)
    task = TASKS[number % 4]
    tenant = f"tenant-{number % 20}"
    return LedgerEntry(
        f"job-{number:012d}", tenant, Lane.BULK, NOON, Reason.CONFIDENT, task, "paid", Status.SUCCEEDED, attempt
    )


def lines(attempts: int) -> Iterator[list[LedgerLine]]:
    for first in range(0, attempts, BATCH):
        found = []
        for number in range(first, min(first + BATCH, attempts)):
            made = entry(number)
            at = NOON + 86_400.0 * (number * DAYS // attempts)
            key = f"{made.tenant}.{made.job_id}.1"
            found.append(LedgerLine(number + 1, at, made.tenant, key, encode_ledger(made)))
        yield found


Made = TypeVar("Made")


def timed(figures: dict[str, float], name: str, do: Callable[[], Made]) -> Made:
    """Run it, and note the seconds that passed and those of this process's processors."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = do()
    figures[f"{name}_seconds"] = time.perf_counter() - wall
    figures[f"{name}_cpu_seconds"] = time.process_time() - cpu
    return made


def measure(figures: dict[str, float], books: ReportBooks, rules: Rules, source: str, expected: int) -> None:
    for by in ("day", "tenant", "task"):
        report = timed(figures, f"{source}_cost_by_{by}", partial(cost_report, books, (by,), PERIOD, rules))
        assert report.total.cost_nano_usd == expected, f"{report.total.cost_nano_usd} and not {expected} nano-dollars"
    question = Question(PERIOD, rules.catalogue)
    timed(figures, f"{source}_savings", lambda: savings_report(books, question, rules, ()))


def made_page(books: ReportBooks, rules: Rules) -> str:
    report = savings_report(books, Question(PERIOD, rules.catalogue), rules, ())
    tables = {name: cost_report(books, (name,), PERIOD, rules) for name in TABLES}
    return page(report, PageCosts(cost_report(books, ("day", "target"), PERIOD, rules), tables), NOON)


def run(attempts: int) -> dict[str, float]:
    rules = load_rules(None, None, "gpu")
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_for(database_url(f"sqlite:///{folder}/ledger.sqlite3"))
        store = LedgerStore(engine, lambda: NOON + 100 * 86_400.0)
        store.open()
        for batch in lines(attempts):
            store.write(batch)
        raw_sum = text("SELECT sum(cost_nano_usd) FROM entries")
        with engine.connect() as connection:
            expected = connection.execute(raw_sum).scalar_one()
        books = ReportBooks(engine, Path(folder) / "archive")
        figures: dict[str, float] = {}
        measure(figures, books, rules, "database", expected)
        timed(figures, f"archive_of_{DAYS - 1}_days", lambda: archive_closed_days(engine, Path(folder) / "archive"))
        measure(figures, books, rules, "archive", expected)
        text_of_page = timed(figures, "archive_page", lambda: made_page(books, rules))
        figures["page_kilobytes"] = len(text_of_page.encode()) / 1000
        engine.dispose()
    return figures


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    show(run(numbers[0] if numbers else ATTEMPTS), "--json" in sys.argv)
