"""`fleet table`: which target answers which task rightly at which price, and cheaper ladders that keep a promise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from fleet.cli.books.cost import OneTenant, Until
from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.books.tables import table_of
from fleet.cli.books.week import VERDICTS, dollars, labels_in, percents, rung_name
from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_learn, needs_ledger
from fleet.cli.lab.evaluate import promise_in
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.cli.rollout.proposed import DryRun, OfUnit, Share, check_dry_run, start_proposed
from fleet.lab.trials import Trial
from fleet.model.errors import ConfigError
from fleet.model.experiment import Unit

if TYPE_CHECKING:
    from fleet.lab.table.answers import ChosenTable
    from fleet.lab.table.rungs import Rung
    from fleet.lab.weekly.changes import Change
    from fleet.reports.periods import Period
    from fleet.reports.table import Ladder, TaskTable
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

RUNGS = ("task", "target", "answers", "kept", "judged", "good", "disliked", "price of 1,000")
CHANGES = ("task", "leave out", "verdict", "saved in the window", "lost")
CHOSEN = ("task", "target", "rows", "good", "best single")

Guarantee = Annotated[
    str | None, typer.Option(metavar="EPS,DELTA", help="The promise; by default the rules' confidence.risk and delta.")
]
Answers = Annotated[Path | None, typer.Argument(help="Judged answers of targets as CSV, in place of the accounts.")]


def table(
    file: Answers = None,
    until: Until = None,
    window: Annotated[int, typer.Option(min=7, help="Days of accounts and of what was said of answers.")] = 56,
    tenant: OneTenant = None,
    task: Annotated[
        list[str] | None, typer.Option(help="With --start: only the ladder of this task; repeatable.")
    ] = None,
    guarantee: Guarantee = None,
    start: Annotated[bool, typer.Option("--start", help="Start the ladders proposed as an experiment.")] = False,
    share: Share = 0.1,
    unit: OfUnit = Unit.TENANT,
    dry_run: DryRun = False,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show which target answers which task rightly at which price, and cheaper ladders that keep a promise."""
    with friendly(as_json), needs_ledger("fleet table"), needs_learn("fleet table"):
        from fleet.app import rules_of

        check_dry_run(dry_run, start)
        settings = settings_for(nats_url, ledger_url=ledger_url)
        rules, output = rules_of(settings), Output(as_json)
        promise = promise_in(guarantee) or (rules.confidence.risk, rules.confidence.delta)
        found = _Found.of_file(file, rules, promise) if file else None
        found = found or _Found.of_accounts(settings, _days(until, window), tenant, rules, promise)
        if start:
            document = _experiment(_only(found.ladders, task), until, Trial(share, unit), rules)
            start_proposed(document, settings, rules, output, dry_run)
            return
        output.object(found.as_json)
        output.show(*found.shown, *_proposed(found.ladders))


@dataclass(frozen=True, slots=True)
class _Found:
    """The ladders that are proposed, and the whole report for programs and for people."""

    ladders: Mapping[str, Ladder]
    as_json: Mapping[str, Any]
    shown: Iterable[RenderableType]

    @classmethod
    def of_accounts(
        cls, settings: Settings, days: Period, tenant: str | None, rules: Rules, promise: tuple[float, float]
    ) -> _Found:
        from fleet.reports.books import open_books
        from fleet.reports.table import task_table

        labels = asyncio.run(labels_in(settings))
        with open_books(settings.ledger_address, settings.archive_dir, tenant) as books:
            found = task_table(books, days, rules, labels or (), promise)
        if not found.rungs:
            rule = f"the accounts of {days.since} to {days.until} have no answer with a confidence"
            raise ConfigError("--until", f"must end days with traffic: {rule}")
        return cls(found.ladders, found.as_json(), _view(found))

    @classmethod
    def of_file(cls, file: Path, rules: Rules, promise: tuple[float, float]) -> _Found:
        from fleet.lab.table.answers import table_of_answers
        from fleet.reports.table import FirstRung, began_at

        found = table_of_answers(file, lambda name: FirstRung.named(name).usd(rules), promise)
        ladders, unsaid = began_at(found.chosen if found.passed else {}, rules)
        return cls(ladders, {**found.as_json(), "ladders": ladders, "unsaid": unsaid}, _view_of_file(found, unsaid))


def _days(until: str | None, window: int) -> Period:
    from fleet.reports.periods import days_until

    return days_until(until, window, time.time())


def _experiment(ladders: Mapping[str, Ladder], until: str | None, trial: Trial, rules: Rules) -> dict[str, Any]:
    from fleet.reports.table import experiment_of

    return experiment_of(ladders, _days(until, 1).until, trial, rules)


def _only(ladders: Mapping[str, Ladder], tasks: Sequence[str] | None) -> Mapping[str, Ladder]:
    for task in tasks or ():
        if task not in ladders:
            raise ConfigError(
                "--task", f"must be a task with a proposed ladder: {', '.join(ladders) or 'there is none'}"
            )
    return {task: ladder for task, ladder in ladders.items() if not tasks or task in tasks}


def _view(found: TaskTable) -> Iterator[RenderableType]:
    days = f"{found.window.since} to {found.window.until}"
    yield Text(f"{days}, promise: at most {found.risk:.1%} lost, at delta {found.delta:.1%}", "bold")
    yield table_of(RUNGS, [_rung(each) for each in found.rungs], texts=2)
    yield ""
    if found.changes:
        yield table_of(CHANGES, [_change(each) for each in found.changes], texts=3)
    yield from (f"{task}: {why}" for task, why in found.unsaid.items())


def _rung(row: Rung) -> tuple[str, ...]:
    missing = f"{row.labels_missing:,} labels missing"
    good = missing if row.good is None else percents(row.good.value, row.good.low, row.good.high)
    return (
        row.task,
        row.target,
        f"{row.answers:,}",
        f"{row.kept:.0%}",
        f"{row.judged:,}",
        good,
        f"{row.disliked:,}",
        dollars(row.usd * 1000),
    )


def _change(row: Change) -> tuple[str, ...]:
    saved = row.saved_usd
    verdict = VERDICTS[row.verdict] + (f": {row.labels_missing:,} labels missing" if row.labels_missing else "")
    money = f"{dollars(saved.value)} ({dollars(saved.low)} to {dollars(saved.high)})"
    return row.task, rung_name(row), verdict, money, f"at most {row.lost:.1%}"


def _view_of_file(found: ChosenTable, unsaid: Mapping[str, str]) -> Iterator[RenderableType]:
    costs = f"{found.price_share:.0%} of the price of {found.single}, at most {found.risk:.1%} less often right"
    said = costs if found.passed else f"no table passed the test: {found.single} for every task"
    yield Text(f"{found.labels:,} rows: {said}", "bold")
    rows = [
        (each.task, each.target, f"{each.rows:,}", f"{each.good:.1%}", f"{each.single_good:.1%}")
        for each in found.tasks
    ]
    yield table_of(CHOSEN, rows, texts=2)
    yield from (f"{task}: {why}" for task, why in unsaid.items())


def _proposed(ladders: Mapping[str, Ladder]) -> Iterator[RenderableType]:
    yield ""
    yield from (f"{task}: {' > '.join(ladder)}" for task, ladder in ladders.items())
    yield "try them: the same command with --start" if ladders else "no ladder is proposed"
