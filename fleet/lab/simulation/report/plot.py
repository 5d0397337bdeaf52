"""Draws simulations as one PNG: arrivals, replicas and waiting jobs over time, a column for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fleet.files import replace_whole
from fleet.lab.simulation.simulate import SimulationReport
from fleet.lab.simulation.upkeep import UpkeepSample
from fleet.lab.simulation.workload.scenario import HOUR_SECONDS

COLUMN_PIXELS, HEIGHT_PIXELS = 900, 1000
_DPI = 120
_SMOOTH = 120
"""Points of the line of arrivals: fine enough for bursts, coarse enough to hide chance."""

# Okabe and Ito 2008: told apart with any kind of colour vision.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#777777", "#000000")


def plot(reports: Sequence[SimulationReport], path: Path) -> None:
    """Write the PNG, one column of COLUMN_PIXELS each. Raises: OSError if it cannot be written."""
    size = (COLUMN_PIXELS * len(reports) / _DPI, HEIGHT_PIXELS / _DPI)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(name for report in reports for name in report.targets if _is_drawn(name, report)))
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(names)}
    grid = figure.subplots(3, len(reports), squeeze=False, sharex="col", sharey="row")
    for column, report in zip(grid.T, reports, strict=True):
        _arrivals(column[0], report)
        _replicas(column[1], report, colours)
        _waiting(column[2], report, colours)
    for row in grid:
        row[0].set_ylim(bottom=0)  # shared by the row, whose top is known only now
    figure.legend(
        handles=[Line2D([], [], color=colours[name], label=name) for name in names],
        loc="outside lower center",
        ncols=len(names),
        frameon=False,
        fontsize=9,
    )
    replace_whole(path, lambda made: figure.savefig(made, format="png"))


def _is_drawn(name: str, report: SimulationReport) -> bool:
    return any(name in sample.replicas or sample.waiting[name] for sample in report.history)


def _title(report: SimulationReport) -> str:
    total = report.total
    return (
        f"{fill(report.title, 60)}\n"
        f"{report.jobs:,} jobs, ${report.month_usd:,.0f} a month, {report.quality:.1%} right\n"
        f"waits: p50 {total.wait_p50_seconds:.1f} s, p95 {total.wait_p95_seconds:.1f} s; "
        f"{report.deadline_misses:,} deadlines missed"
    )


def _arrivals(axes: Axes, report: SimulationReport) -> None:
    axes.set_title(_title(report), loc="left", fontsize=10)
    samples = report.history[:: max(1, len(report.history) // _SMOOTH)]
    pairs = list(pairwise(samples))
    rates = [(after.arrived - before.arrived) / (after.at - before.at) for before, after in pairs]
    axes.plot([_hours(after) for _, after in pairs], rates, color=_COLOURS[0], linewidth=1.2)
    axes.set_ylabel("arrivals per second")
    _finish(axes)


def _replicas(axes: Axes, report: SimulationReport, colours: dict[str, str]) -> None:
    hours = [_hours(sample) for sample in report.history]
    for name in report.history[0].replicas if report.history else ():
        counts = [sample.replicas[name] for sample in report.history]
        axes.step(hours, counts, where="post", color=colours[name], linewidth=1.6)
    axes.set_ylabel("replicas that run")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes)


def _waiting(axes: Axes, report: SimulationReport, colours: dict[str, str]) -> None:
    hours = [_hours(sample) for sample in report.history]
    for name in report.targets:
        counts = [sample.waiting[name] for sample in report.history]
        if any(counts):
            axes.plot(hours, counts, color=colours[name], linewidth=1.2)
    axes.set(xlabel="hours", ylabel="jobs that wait", yscale="symlog")
    _finish(axes)


def _hours(sample: UpkeepSample) -> float:
    return sample.at / HOUR_SECONDS


def _finish(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
