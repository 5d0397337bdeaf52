"""`fleet report week`: what fell through to dearer targets, and what each change would have saved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.console import RenderableType
from rich.text import Text

from fleet.cli.books.cost import OneTenant, Until
from fleet.cli.books.ledger import LedgerUrl
from fleet.cli.books.tables import table_of
from fleet.cli.connection import opened, settings_for
from fleet.cli.extras import needs_learn, needs_ledger
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.cli.rollout.proposed import DryRun, OfUnit, Share, check_dry_run, start_proposed
from fleet.lab.trials import Trial
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.experiment import Unit
from fleet.reports.dollars import shown
from policies.money import nano_of

if TYPE_CHECKING:
    from fleet.lab.learning.collected import LabelledAnswer
    from fleet.lab.weekly.changes import Change
    from fleet.lab.weekly.fell import FellThrough, Servable
    from fleet.model.adapter import RegisteredAdapter
    from fleet.reports.week import WeekReport
    from fleet.settings.environment import Settings
    from policies.rules.rules import Rules

SHOWN = 12
"""Rows of what fell through that are shown; all are in the JSON."""

FELL = ("task", "target", "reason", "jobs", "cost after it")
SERVABLE = ("task", "target", "doubted", "judged", "would have served", "lost", "of it again")
CHANGES = ("no.", "change", "task", "target", "verdict", "saved a week", "kept wrongly")

VERDICTS = {
    "proposed": "proposed",
    "no_saving": "not sure to save",
    "breaks_promise": "not sure to keep the promise",
    "labels_missing": "cannot be said",
    "several": "several adapters answered",
    "not_tried": "not tried",
    "stopped": "stopped by a gate",
}


def week(
    until: Until = None,
    window: Annotated[int, typer.Option(min=7, help="Days of comparisons by which kept answers are judged.")] = 56,
    tenant: OneTenant = None,
    start: Annotated[int | None, typer.Option(metavar="NO.", help="Start this change as an experiment.")] = None,
    redraw: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Ask up to N decisive questions of a tenant again: what is chance?"),
    ] = None,
    share: Share = 0.1,
    unit: OfUnit = Unit.TENANT,
    dry_run: DryRun = False,
    nats_url: NatsUrl = None,
    ledger_url: LedgerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show what fell through to dearer targets in the seven days up to --until, and what each change would save."""
    with friendly(as_json), needs_ledger("fleet report"), needs_learn("fleet report week"):
        from fleet.app import rules_of

        check_dry_run(dry_run, start is not None)
        settings = settings_for(nats_url, ledger_url=ledger_url)
        labels, rules, output = asyncio.run(labels_in(settings)), rules_of(settings), Output(as_json)
        report = _report(settings, until, window, tenant, labels, rules)
        if redraw is not None:
            _redraw(settings, tenant, labels or (), report, redraw, rules, output)
            return
        if start is not None:
            start_proposed(_experiment(report, start, Trial(share, unit), rules), settings, rules, output, dry_run)
            return
        output.object(report.as_json())
        output.show(*_view(report))
        if labels is None:
            output.say("No broker answers, so nothing is known of how good answers were.")


def _report(
    settings: Settings,
    until: str | None,
    window: int,
    tenant: str | None,
    labels: Sequence[LabelledAnswer] | None,
    rules: Rules,
) -> WeekReport:
    """Make the report. Raises: ConfigError for a week without traffic; LedgerUnavailable, DamagedArchive."""
    from fleet.reports.books import open_books
    from fleet.reports.periods import days_until
    from fleet.reports.week import week_report

    now, adapters = time.time(), () if labels is None else asyncio.run(_adapters_in(settings))
    week, whole = days_until(until, 7, now), days_until(until, window, now)
    with open_books(settings.ledger_address, settings.archive_dir, tenant) as books:
        found = week_report(books, week, whole, rules, labels or (), adapters)
    if not found.answers:
        days = f"{found.week.since} to {found.week.until}"
        raise ConfigError(
            "--until", f"must end a week with traffic: the accounts of {days} have no answer with a confidence"
        )
    return found


async def _adapters_in(settings: Settings) -> Sequence[RegisteredAdapter]:
    """Return every adapter there is; none if no broker answers."""
    from fleet.app import open_adapters

    try:
        async with opened(settings, open_adapters) as store:
            return list((await store.read_all()).values())
    except QueueUnavailable:
        return ()


async def labels_in(settings: Settings) -> Sequence[LabelledAnswer] | None:
    """Return every judged answer; None if no broker answers."""
    from fleet.app import open_journal
    from fleet.lab.learning.collected import collect

    try:
        async with opened(settings, open_journal) as journal:
            return (await collect(journal)).labels
    except QueueUnavailable:
        return None


def _view(report: WeekReport) -> Iterator[RenderableType]:
    week = report.week
    head = f"{week.since} to {week.until}: {report.answers:,} answers with a confidence, {dollars(report.usd)}"
    yield Text(head, "bold")
    yield from _titled("What fell through", FELL, [_fell(each) for each in report.fell[:SHOWN]], texts=3)
    yield from _titled("What would have served", SERVABLE, [_servable(each) for each in report.servable], texts=2)
    changes = [(str(number), *_change(each)) for number, each in enumerate(report.changes, 1)]
    yield from _titled("Changes", CHANGES, changes, texts=5)
    yield ""
    lines = (_proposal(number, each) for number, each in enumerate(report.changes, 1))
    yield from (line for line in lines if line is not None)


def _titled(title: str, heads: Sequence[str], rows: list[tuple[str, ...]], texts: int) -> Iterator[RenderableType]:
    yield ""
    yield Text(title if rows else f"{title}: nothing", "bold")
    if rows:
        yield table_of(heads, rows, texts=texts)


def dollars(usd: float) -> str:
    return shown(nano_of(usd))


class Answered(Protocol):
    """A figure about the answers of a target, given with one adapter or none."""

    @property
    def target(self) -> str: ...
    @property
    def version(self) -> str: ...


def rung_name(row: Answered) -> str:
    """Return the target, and the beginning of the digest of the adapter that answered there."""
    return f"{row.target}+{row.version[:12]}" if row.version else row.target


def _fell(row: FellThrough) -> tuple[str, ...]:
    return row.task, rung_name(row), row.reason, f"{row.jobs:,}", dollars(row.usd)


def _servable(row: Servable) -> tuple[str, ...]:
    share = f"{row.labels_missing:,} labels missing" if row.share is None else percents(**asdict(row.share))
    lost = "-" if row.share is None else f"{1.0 - row.share.value:.1%}"
    again = f"{row.redraws_missing:,} redraws missing" if row.again is None else percents(**asdict(row.again))
    return row.task, rung_name(row), f"{row.jobs:,}", f"{row.judged:,}", share, lost, again


def percents(value: float, low: float, high: float) -> str:
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def _change(row: Change) -> tuple[str, ...]:
    saved = row.saved_usd
    verdict = VERDICTS[row.verdict] + (f": {row.labels_missing:,} labels missing" if row.labels_missing else "")
    money = f"{dollars(saved.value)} ({dollars(saved.low)} to {dollars(saved.high)})"
    lost = "see its gates" if row.adapter else f"at most {row.lost:.1%}"
    return str(row.kind), row.task, rung_name(row), verdict, money, lost


def _proposal(number: int, row: Change) -> str | None:
    """Say what to do, for a change that is proposed."""
    if row.verdict != "proposed":
        return None
    try_it = f"try it: `fleet report week --start {number}`"
    if row.adapter is not None:
        return f"{number}. Answer {row.task} on {row.target} with adapter {row.adapter[:12]}; {try_it}."
    if row.threshold is None:
        return f"{number}. Leave {row.target} out of the ladder of {row.task}; {try_it}."
    return (
        f"{number}. Keep answers of {row.target} to {row.task} from a confidence of {row.threshold:.3f} on; {try_it}."
    )


def _redraw(
    settings: Settings,
    tenant: str | None,
    labels: Sequence[LabelledAnswer],
    report: WeekReport,
    most: int,
    rules: Rules,
    output: Output,
) -> None:
    """Ask questions again. Raises: as `ask_again`."""
    from fleet.cli.data.redraw import ask_again

    whose = settings if tenant is None else settings.model_copy(update={"tenant": tenant})
    asked, gone = asyncio.run(ask_again(whose, labels, report.week, most, rules))
    output.object({"asked": asked, "not_collected": gone})
    missed = f"; {gone:,} more were not collected, or are erased" if gone else ""
    output.say(f"{asked:,} questions are asked again, in the lane bulk{missed}")
    output.say("the report counts them once they are answered and compared")


def _experiment(report: WeekReport, start: int, trial: Trial, rules: Rules) -> dict[str, Any]:
    from fleet.reports.proposals import experiment_for

    return experiment_for(start, report.changes, report.week.until, trial, rules)
