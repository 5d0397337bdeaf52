"""The content of a plot as values: the report holds it, `fleet.lab.evaluation.plot` draws it."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.lab.metrics.metrics import Bin

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PlottedCurve:
    """A cost-quality curve."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Reliability:
    """A calibration's stated confidence against the share of good answers."""

    name: str
    bins: tuple[Bin, ...]
    ece: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A cost-quality plot on the left, a reliability plot on the right.

    Left: `lines` over a cost named by `cost_label`, the first being the one evaluated, and single points.
    `weak` and `strong` are the two targets alone: between them runs the mixing line of random routing. `oracle` is
    the best that any order reaches, `chosen` where the threshold is. Right: `reliability`, the first being the
    one that ships, and the ECE a perfect forecaster would show.
    """

    title: str
    cost_label: str
    lines: tuple[PlottedCurve, ...]
    weak: Point
    strong: Point
    oracle: Point
    chosen: Point | None
    reliability: tuple[Reliability, ...]
    ece_floor: float | None
