"""`fleet bulk submit --dry-run`: check a file and forecast what it will cost and when it will be through."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fleet.bulk.reading.checking import ValidationReport
from fleet.bulk.reading.sources import open_source
from fleet.cli.bulk.submit import BulkOrder, checking, is_runnable, refuse, show_problems
from fleet.cli.bulk.views import NANO
from fleet.cli.output import Output, duration
from fleet.lab.simulation.beliefs import AssumedBelief, Belief, RecordedBelief
from fleet.lab.simulation.forecast import Forecast, RowSampler, SampledRow, forecast
from fleet.lab.simulation.workload.files import load_scenario
from fleet.lab.simulation.workload.traces import read_trace
from fleet.model.job import JobOptions, Plan, Tier
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from policies.features.needs import needs_of
from policies.rules.rules import Rules

if TYPE_CHECKING:
    from fleet.settings.environment import Settings

SCENARIO = "day"
"""The scenario whose speeds are assumed where no recorded run is given."""


def dry_run(settings: Settings, output: Output, order: BulkOrder, recorded: Sequence[Path]) -> None:
    """Check the file and show the forecast, if there is what to make one of; nothing is stored and nothing runs.

    Raises: FleetError if rows are no jobs; ConfigError; OSError.
    """
    rules = load_rules(settings.rules_path, settings.catalogue_path, settings.profile)
    belief, source = _belief(settings, recorded, rules)
    sampler, report = _read(order, settings.tenant, rules)
    if not is_runnable(report, order.keep_going):
        refuse(output, order, report)
    show_problems(output, report)
    if belief is None:
        _show_check(output, report)
        return
    limit = None if order.max_cost_nano_usd is None else order.max_cost_nano_usd / NANO
    found = forecast(sampler, belief, rules, order.window_seconds, limit)
    output.object(as_json(found, report, source))
    output.show(view(found, report, source, order))


def _belief(settings: Settings, recorded: Sequence[Path], rules: Rules) -> tuple[Belief | None, str]:
    """Return what to go by and what to call it; None on a laptop that nobody has measured. Raises: ConfigError."""
    if recorded:
        return RecordedBelief([read_trace(path) for path in recorded], rules), "recorded runs"
    if settings.profile == "local":
        return None, "nothing"
    return AssumedBelief(load_scenario(SCENARIO), rules), f"assumed speeds, those of the scenario {SCENARIO}"


def _show_check(output: Output, report: ValidationReport) -> None:
    """Show what the check found, and what a forecast would need."""
    rows = report.rows - report.problem_count
    unknown = {"cost_usd": None, "seconds": None, "by": None}
    output.object({"rows": rows, "rows_read": report.rows, "rows_refused": report.problem_count} | unknown)
    output.say(f"rows  {_rows(rows, report)}")
    output.say(
        "cost and time cannot be forecast without a run recorded on this machine: "
        "--recorded run.jsonl, which python -m benchmarks.record_run run.jsonl makes"
    )


def _read(order: BulkOrder, tenant: str, rules: Rules) -> tuple[RowSampler, ValidationReport]:
    sampler = RowSampler()
    with checking(order, tenant) as checker, open_source(order.source, order.table) as pieces:
        for piece in pieces:
            for row in piece.rows:
                job = checker.take(row, time.time())
                if job is not None:
                    sampler.add(sampled(job.submission, order.defaults, rules))
        return sampler, checker.finish()


def sampled(said: Submission, defaults: JobOptions, rules: Rules) -> SampledRow:
    """Return what decides about the row; what it does not say itself is as the defaults say."""
    needs = needs_of(said.request, rules.estimates)
    tier = said.tier or defaults.get("tier")
    plan = defaults.get("plan", said.plan) if said.plan is Plan.PAID else said.plan
    cloud = defaults.get("cloud", said.cloud) if said.cloud == "allow" else said.cloud
    return SampledRow(
        task=said.task,
        input_tokens=max(1, needs.input_tokens),
        max_output_tokens=needs.output_tokens,
        plan=Plan(plan),
        tier=None if tier is None else Tier(tier),
        cloud=cloud != "deny",
    )


def as_json(found: Forecast, report: ValidationReport, source: str) -> dict[str, Any]:
    return asdict(found) | {"by": source, "rows_read": report.rows, "rows_refused": report.problem_count}


def view(found: Forecast, report: ValidationReport, source: str, order: BulkOrder) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("rows", _rows(found.rows, report))
    table.add_row("cost", f"${found.cost_usd.low:.4f} to ${found.cost_usd.high:.4f}{_risk(found.too_dear, 'over it')}")
    times = f"{duration(found.seconds.low)} to {duration(found.seconds.high)}"
    table.add_row("time", f"{times}{_risk(found.late, f'after {duration(order.window_seconds)}')}")
    who = sorted(found.split.items(), key=lambda each: -each[1])
    table.add_row("answers", ", ".join(f"{name} {share:.0%}" for name, share in who))
    table.add_row("by", source)
    return table


def _rows(count: int, report: ValidationReport) -> str:
    return f"{count:,}" + (f", {report.problem_count:,} others are no jobs" if report.problem_count else "")


def _risk(share: float, what: str) -> str:
    return f" ({share:.0%} of the simulations end {what})" if share else ""
