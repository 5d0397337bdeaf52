"""Shows what the gates found of an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType

from fleet.cli.lab.evaluation_view import table_of

if TYPE_CHECKING:
    from fleet.lab.gates.findings import Finding, GateReport


def view(report: GateReport) -> Iterator[RenderableType]:
    """Yield a row for each finding, and whether the adapter may answer jobs."""
    table = table_of("gate", "task", "n", "value", "interval", "", "why")
    table.columns[1].justify = table.columns[-1].justify = "left"
    for each in report.findings:
        table.add_row(
            str(each.gate), each.task or "", f"{each.n:,}", _number(each.value), _interval(each), _word(each), each.why
        )
    yield table
    yield ""
    if report.passed:
        yield f"{report.adapter[:12]}  passes every gate"
    else:
        stops = dict.fromkeys(f"{each.gate}{f' on {each.task}' if each.task else ''}" for each in report.stopped_by)
        yield f"{report.adapter[:12]}  is stopped by: {', '.join(stops)}"


def _word(finding: Finding) -> str:
    if not finding.required:
        return "not promised" if finding.gate == "promise" else "not served"
    return "passed" if finding.passed else "stopped"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}" if value < 0 else f"{value:.3f}"


def _interval(finding: Finding) -> str:
    if finding.low is None or finding.high is None:
        return ""
    return f"{finding.low:.3f} to {finding.high:.3f}"
