"""Jobs through a whole dispatcher, its accounts through the ledger's writer: reports add up to every attempt's cost."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.ledger.writer import LedgerWriter
from fleet.model.attempt import Answer, Features, Usage
from fleet.model.call import Call
from fleet.model.feedback import Feedback
from fleet.model.submission import Submission
from fleet.reports.books import ReportBooks
from fleet.reports.cost import cost_report
from fleet.reports.periods import Period, period_of
from fleet.reports.savings import Question, savings_report
from queues.jetstream.stores.journal import MemoryJournal
from queues.jetstream.stores.ledger import MemoryLedger

JOBS = 30
SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)
UNSURE = replace(SURE, min=-3.0)
SMALL, MIDDLE = "llama-8b", "mixtral-8x7b"


@pytest.fixture
def script() -> Any:
    """Makes a model that is unsure of the prompts which say so, and reads and writes ever more tokens."""

    def made(trusted: bool) -> Any:
        count = 0

        def answered(call: Call) -> Answer:
            nonlocal count
            count += 1
            is_sure = trusted or "doubt" not in str(call.request["messages"])
            usage = Usage(100 + count, 7 + count)
            return Answer({"role": "assistant", "content": "yes"}, "stop", usage, "m", SURE if is_sure else UNSURE)

        return answered

    return made


async def books_of(bench: Any, folder: Path) -> tuple[ReportBooks, Period, list[Feedback]]:
    """What the accounts of the run come to, as the commands read them."""
    engine = engine_for(database_url(f"sqlite:///{folder / 'ledger.sqlite3'}"))
    await LedgerWriter(MemoryLedger(bench.broker), LedgerStore(engine, time.time)).catch_up()
    said = [each async for each in MemoryJournal(bench.broker).feedback()]
    return ReportBooks(engine, folder / "ledger-days"), period_of(None, None, bench.broker.now()), said


async def test_reports_add_up_to_every_attempt_of_a_run(bench: Any, script: Any, tmp_path: Path) -> None:
    bench.rules = replace(bench.rules, shadow=replace(bench.rules.shadow, kept=1.0))
    bench.backend(SMALL, script(trusted=False))
    bench.backend(MIDDLE, script(trusted=True))
    doubtful = [
        {"messages": [{"role": "user", "content": f"doubt {n}" if n % 3 == 0 else f"{n}"}]} for n in range(JOBS)
    ]
    jobs = [Submission(f"job-{n:012d}", "classify.intent", request) for n, request in enumerate(doubtful)]
    await bench.desk.submit(jobs)
    async with bench.running():
        for job in jobs:
            await bench.result(job.id)
    books, period, said = await books_of(bench, tmp_path)

    attempts = [line["attempt"] for line in bench.ledger() if line["attempt"]]
    spent = sum(round(attempt["cost_usd"] * 1e9) for attempt in attempts)
    for by in ("day", "target", "tenant", "task", "tier", "reason"):
        report = cost_report(books, (by,), period, bench.rules)
        assert report.total.cost_nano_usd == sum(row.sums.cost_nano_usd for row in report.rows) == spent
        assert report.total.attempts == len(attempts)
        assert report.total.jobs == JOBS
    savings = savings_report(books, Question(period, bench.rules.catalogue), bench.rules, said)
    assert (savings.jobs, savings.spent.total, savings.spent.paid) == (JOBS, spent, 0)
