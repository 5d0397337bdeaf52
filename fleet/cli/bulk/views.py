"""Shows a batch, to people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from fleet.bulk.pace import Outlook
from fleet.bulk.reading.checking import described
from fleet.cli.output import duration
from fleet.model.batch import BUDGET_SPENT, Batch, LineProblem

MOST_SHOWN = 10
"""Maximum number of problems shown to people; with --json there are more."""

NANO = 1e9


def as_json(batch: Batch) -> dict[str, Any]:
    """Return what a program may want to know of a batch; times are unix seconds."""
    return {
        "id": batch.id,
        "status": batch.status.value,
        "rows": batch.total,
        "completed": batch.completed,
        "failed": batch.failed,
        "reason": BUDGET_SPENT if batch.is_budget_spent else None,
        "outcomes": [each._asdict() for each in batch.outcomes],
        "cost_usd": batch.cost_nano_usd / NANO,
        "input_tokens": batch.usage.input_tokens,
        "output_tokens": batch.usage.output_tokens,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        "input_file_id": batch.input_file_id,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "retries": batch.retries,
        "metadata": dict(batch.metadata),
        "problem_count": batch.problem_count,
        "problems": [problem_json(problem) for problem in batch.problems],
    }


def problem_json(problem: LineProblem) -> dict[str, Any]:
    return asdict(problem)


def summary(batch: Batch) -> str:
    """Return a line: what the batch is at, and how far."""
    done = batch.completed + batch.failed
    failed = f", {batch.failed:,} without an answer" if batch.failed else ""
    rows = f"{done:,} of {batch.total:,} rows{failed}" if batch.total else "no row yet"
    ended = ", its budget spent" if batch.is_budget_spent else ""
    return f"{batch.id}  {batch.status}{ended}: {rows}, ${batch.cost_nano_usd / NANO:.4f}"


def outcomes(batch: Batch) -> str:
    """Return what became of the rows that are done: counts by status, with the reason where there is one."""
    counts = (f"{each.rows:,} {each.status}" + (f" ({each.reason})" if each.reason else "") for each in batch.outcomes)
    return ", ".join(counts)


def facts(batch: Batch, now: float) -> Table:
    """Return what `fleet bulk status` shows below the summary."""
    table = Table.grid(padding=(0, 2))
    if not batch.status.is_final:
        table.add_row("run by", batch.progress.owner if batch.progress.is_leased(now) else "nobody at this moment")
    if batch.outcomes:
        table.add_row("rows", outcomes(batch))
    table.add_row("made", moment(batch.created_at))
    table.add_row("until", moment(batch.expires_at))
    table.add_row("tokens", f"{batch.usage.input_tokens:,} in, {batch.usage.output_tokens:,} out")
    if batch.retries:
        table.add_row("retries", batch.retries)
    for name, value in batch.metadata.items():
        table.add_row(name, value)
    return table


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def complaints(problems: Iterable[LineProblem], count: int) -> list[str]:
    """Return lines about the first problems, and how many more there are."""
    shown = list(described(list(problems)[:MOST_SHOWN]))
    more = count - len(shown)
    return [*shown, f"and {more:,} more"] if more else shown


def listed(batches: Iterable[Batch]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name in ("batch", "status", "done", "of", "cost", "made"):
        table.add_column(name, justify="right" if name in ("done", "of", "cost") else "left", no_wrap=True)
    for batch in batches:
        done = batch.completed + batch.failed
        cost = f"${batch.cost_nano_usd / NANO:.4f}"
        table.add_row(batch.id, batch.status, f"{done:,}", f"{batch.total:,}", cost, moment(batch.created_at))
    return table


def outlook(expected: Outlook | None, split: Mapping[str, float]) -> str:
    """Return the end of the progress bar: the rate, the time left as an interval, the cost, and who answers."""
    if expected is None:
        return ""
    early, late = duration(expected.earliest_seconds), duration(expected.latest_seconds)
    who = ", ".join(f"{name} {share:.0%}" for name, share in sorted(split.items(), key=lambda each: -each[1]))
    told = f"{expected.rows_per_second:,.0f}/s, {early} to {late} left, ${expected.cost_usd:.2f} in all"
    return f"{told}; {who}" if who else told
