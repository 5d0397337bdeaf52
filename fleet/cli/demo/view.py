"""The demo's summary for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table

from fleet.cli.demo.asked import SMALL_MODEL, Asked
from fleet.cli.demo.report import Report
from fleet.cli.jobs import path_of
from fleet.model.result import Result

EXAMPLES = 4
WIDEST_TEXT = 50


def summary(
    report: Report, asked: Sequence[Asked], results: Mapping[str, Result], notes: Sequence[str]
) -> list[RenderableType]:
    examples = Table.grid(padding=(0, 2))
    for one in telling_examples(asked, results):
        _add_example(examples, one, results[one.submission.id])
    cost_usd = sum(result.cost_usd for result in results.values())
    return ["", _targets(report), "", examples, _totals(report, cost_usd), *(f"note: {note}" for note in notes)]


def telling_examples(asked: Sequence[Asked], results: Mapping[str, Result]) -> list[Asked]:
    """The first job of each different way through the ladder, the shortest ways first."""
    by_path: dict[tuple[str, ...], Asked] = {}
    for one in asked:
        result = results.get(one.submission.id)
        if result and result.attempts:
            by_path.setdefault(tuple(attempt.target for attempt in result.attempts), one)
    return [by_path[path] for path in sorted(by_path, key=lambda path: (len(path), path))][:EXAMPLES]


def _targets(report: Report) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("target")
    for column in ("answered", "escalated away", "failed attempts", "accuracy"):
        table.add_column(column, justify="right")
    for name, row in report.by_target.items():
        table.add_row(
            name, str(row.answered), str(row.escalated_away), str(row.failed_attempts), _percent(row.accuracy)
        )
    return table


def _add_example(grid: Table, one: Asked, result: Result) -> None:
    is_right = one.is_answered_by(result)
    grid.add_row(one.example.task, _shorten(one.prompt))
    answer = _shorten(result.answer.text) if result.answer else ""
    grid.add_row("  answer", f"{answer or result.status} ({'right' if is_right else 'wrong'})")
    if not is_right:
        grid.add_row("  expected", _shorten(one.example.answer))
    grid.add_row("  path", path_of(result))
    grid.add_row()


def _totals(report: Report, cost_usd: float) -> Table:
    grid = Table.grid(padding=(0, 2))
    speed = "-" if report.jobs_per_second is None else f"{report.jobs_per_second:.1f} jobs/s"
    grid.add_row("jobs", f"{report.jobs} in {report.wall_seconds:.1f} s, {speed}")
    grid.add_row("results", f"{report.results} ({report.succeeded} succeeded)")
    grid.add_row("", f"{report.lost} lost, {report.duplicates} duplicates, {report.escalated} escalated")
    grid.add_row(
        "accuracy", f"{_percent(report.accuracy)}  ({SMALL_MODEL} alone {_percent(report.small_model_accuracy)})"
    )
    grid.add_row("cost", f"${cost_usd:.6f}")
    return grid


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST_TEXT else line[: WIDEST_TEXT - 1] + "…"
