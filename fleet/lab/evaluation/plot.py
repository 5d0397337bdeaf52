"""Draws an evaluation as one PNG: the price of quality, and the truth of the confidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fleet.files import replace_whole
from fleet.lab.evaluation.drawing import Drawing, PlottedCurve, Point, Reliability

WIDTH_PIXELS, HEIGHT_PIXELS = 1800, 800
_DPI = 150
_ROOM = 0.05
_BEHIND_TEXT = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}

# Okabe and Ito 2008: told apart with any kind of colour vision, and each also has its own line or marker.
_BLUE, _ORANGE, _GREEN, _VERMILION, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
_LINES = ((_BLUE, "-", 2.4), (_ORANGE, "--", 1.6), (_GREEN, "-.", 1.6))
_SERIES = ((_BLUE, "o", _BLUE), (_ORANGE, "s", "none"))


def plot(drawing: Drawing, path: Path) -> None:
    """Write the PNG, WIDTH_PIXELS x HEIGHT_PIXELS. Raises: OSError if it cannot be written."""
    figure = Figure(figsize=(WIDTH_PIXELS / _DPI, HEIGHT_PIXELS / _DPI), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(drawing.title, fontsize=12)
    if drawing.reliability:
        grid = figure.add_gridspec(2, 2, height_ratios=(5, 1), width_ratios=(1.15, 1))
        _cost_and_quality(figure.add_subplot(grid[:, 0]), drawing)
        truth = figure.add_subplot(grid[0, 1])
        _reliability(truth, drawing)
        _counts(figure.add_subplot(grid[1, 1], sharex=truth), drawing.reliability[0])
    else:
        _cost_and_quality(figure.add_subplot(), drawing)
    replace_whole(path, lambda made: figure.savefig(made, format="png"))


def _cost_and_quality(axes: Axes, drawing: Drawing) -> None:
    axes.set_title("What quality costs", loc="left", fontsize=11)
    mixing = PlottedCurve("random routing", (drawing.weak, drawing.strong))
    axes.plot(*_xy(mixing.points), color=_GREY, linestyle=":", linewidth=1.6, label=mixing.name)
    for line, (colour, style, width) in zip(drawing.lines, _LINES, strict=False):
        axes.plot(*_xy(line.points), color=colour, linestyle=style, linewidth=width, label=line.name)
    _spot(axes, drawing.oracle, "*", _GREEN, "oracle", 13)
    if drawing.chosen is not None:
        _spot(axes, drawing.chosen, "D", _VERMILION, "chosen threshold", 8)
    _target(axes, drawing.weak, "weak only", below=True)
    _target(axes, drawing.strong, "strong only", below=False)
    axes.margins(x=0.04)
    _leave_room_for_names(axes)
    axes.set_xlabel(drawing.cost_label)
    axes.set_ylabel("answers that are right")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _finish(axes, "lower right")


def _reliability(axes: Axes, drawing: Drawing) -> None:
    axes.set_title("How true the confidence is", loc="left", fontsize=11)
    axes.plot((0, 1), (0, 1), color=_GREY, linestyle=":", linewidth=1.6, label="perfectly calibrated")
    for series, (colour, marker, face) in zip(drawing.reliability, _SERIES, strict=False):
        points = [(found.confidence, found.good) for found in series.bins]
        label = f"{series.name}: ECE {series.ece:.3f}"
        axes.plot(*_xy(points), color=colour, alpha=0.35, linewidth=1.2)
        axes.plot(*_xy(points), color=colour, marker=marker, markerfacecolor=face, linestyle="none", label=label)
    if drawing.ece_floor is not None:
        axes.plot((), (), linestyle="none", label=f"(a perfect forecaster: {drawing.ece_floor:.3f})")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="answers that are right")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(labelbottom=False)
    _finish(axes, "upper left")


def _counts(axes: Axes, series: Reliability) -> None:
    """Draw how many answers are behind each point."""
    centres = [found.confidence for found in series.bins]
    counts = [found.count for found in series.bins]
    axes.bar(centres, counts, width=0.012, color=_BLUE, edgecolor="white", linewidth=0.6)
    axes.set(xlabel="stated confidence", ylabel="answers", ylim=(0, 1.25 * max(counts)), yticks=(0, max(counts)))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)


def _spot(axes: Axes, point: Point, marker: str, colour: str, name: str, size: float) -> None:
    axes.plot(
        *point,
        marker=marker,
        color=colour,
        markersize=size,
        markeredgecolor="white",
        linestyle="none",
        label=name,
        zorder=6,
    )


def _target(axes: Axes, point: Point, name: str, below: bool) -> None:
    offset = (8.0, -13.0) if below else (0.0, 9.0)
    axes.plot(*point, marker="o", color="black", markersize=6, zorder=5)
    axes.annotate(
        name,
        point,
        xytext=offset,
        textcoords="offset points",
        ha="left" if below else "center",
        fontsize=9,
        zorder=7,
        bbox=_BEHIND_TEXT,
    )


def _leave_room_for_names(axes: Axes) -> None:
    low, high = axes.get_ylim()
    axes.set_ylim(low - _ROOM * (high - low), high + _ROOM * (high - low))


def _finish(axes: Axes, legend: Literal["lower right", "upper left"]) -> None:
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc=legend, frameon=False, fontsize=9)


def _xy(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
