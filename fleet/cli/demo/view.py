"""The demo's summary for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from fleet.cli.demo.asked import LARGEST_MODEL, SMALL_MODEL, Asked
from fleet.cli.demo.report import DemoReport
from fleet.cli.explain import confidence_of
from fleet.model.attempt import Attempt, Failure
from fleet.model.result import Result

EXAMPLES = 4
WIDEST_TEXT = 50


def summary(
    report: DemoReport, asked: Sequence[Asked], results: Mapping[str, Result], notes: Sequence[str], stays: bool
) -> list[RenderableType]:
    """Return what people are shown; `stays` tells whether the fleet keeps running after the demo."""
    examples = Table.grid(padding=(0, 2))
    for one in telling_examples(asked, results):
        _add_example(examples, one, results[one.submission.id])
    remarks = [f"note: {note}" for note in notes]
    return ["", _targets(report), "", examples, _totals(report), *remarks, "", _next_steps(results, stays)]


def telling_examples(asked: Sequence[Asked], results: Mapping[str, Result]) -> list[Asked]:
    """Return the first job of each different way through the ladder, the shortest ways first."""
    by_path: dict[tuple[str, ...], Asked] = {}
    for one in asked:
        result = results.get(one.submission.id)
        if result and result.attempts:
            by_path.setdefault(tuple(attempt.target for attempt in result.attempts), one)
    return [by_path[path] for path in sorted(by_path, key=lambda path: (len(path), path))][:EXAMPLES]


def _targets(report: DemoReport) -> Table:
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
    for attempt in result.attempts:
        grid.add_row(f"  {attempt.target}", _said_of(attempt, is_last=attempt is result.attempts[-1]))
    grid.add_row()


def _said_of(attempt: Attempt, is_last: bool) -> str:
    """Return the confidence in an answer beside its threshold, and what followed."""
    if isinstance(attempt.outcome, Failure):
        return f"failed: {attempt.outcome.kind}"
    return f"confidence {confidence_of(attempt)}{'' if is_last else ': not trusted'}"


def _totals(report: DemoReport) -> Table:
    grid = Table.grid(padding=(0, 2))
    speed = "-" if report.jobs_per_second is None else f"{report.jobs_per_second:.1f} jobs/s"
    grid.add_row("jobs", f"{report.jobs} in {report.wall_seconds:.1f} s, {speed}")
    grid.add_row("results", f"{report.results} ({report.succeeded} succeeded)")
    grid.add_row("", f"{report.lost} lost, {report.duplicates} duplicates, {report.escalated} escalated")
    grid.add_row()
    grid.add_row("", "right", "cost")
    grid.add_row("the fleet", _percent(report.accuracy), _usd(report.cost_usd))
    for model, accuracy, cost_usd in (
        (SMALL_MODEL, report.small_model_accuracy, report.small_model_cost_usd),
        (LARGEST_MODEL, report.largest_model_accuracy, report.largest_model_cost_usd),
    ):
        grid.add_row(f"all on {model}", _percent(accuracy), _usd(cost_usd))
    return grid


def _next_steps(results: Mapping[str, Result], stays: bool) -> Group:
    """Return the commands that show a job's decisions and trace, and some to try."""
    longest = max(results.values(), key=lambda result: len(result.attempts), default=None)
    named = f"{longest.job_id} --tenant {longest.tenant}" if stays and longest else "<job id>"
    steps = [
        ("", "fleet up", "a fleet that stays, until Ctrl-C"),
        ("", f"fleet explain {named}", "every decision of a job"),
        ("", 'fleet submit chat "Good morning." --wait', "a job of your own"),
        ("", "fleet bulk run jobs.jsonl -o out.jsonl", "a file of them"),
    ]
    grid = Table.grid(padding=(0, 2))
    for step in steps[stays:]:
        grid.add_row(*step)
    return Group("try next", grid, "traces: set OTEL_EXPORTER_OTLP_ENDPOINT before the fleet starts")


def _usd(cost_usd: float | None) -> str:
    return "-" if cost_usd is None else f"${cost_usd:.6f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST_TEXT else line[: WIDEST_TEXT - 1] + "…"
