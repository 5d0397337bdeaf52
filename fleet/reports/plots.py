"""The geometry of the page's plots: where bars lie and what stands beside them; the template draws them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.model.money import NanoUsd
from fleet.reports.dollars import shown

WIDTH = 400.0
"""Width of a plot: that of a phone, so that its text can be read there; wider screens scale it up."""

ROW = 36.0
"""Height of a bar with its line of text."""

STACK_HEIGHT, LEFT, TOP, BOTTOM = 200.0, 62.0, 12.0, 180.0

SERIES = 6
"""Number of colours; what is beyond goes together as OTHER."""

OTHER = "all others"
_LABELLED = 4


@dataclass(frozen=True, slots=True)
class SpanBar:
    """A bar to draw: from `start` to `end`, with its text."""

    label: str
    start: NanoUsd
    end: NanoUsd
    text: str


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; `series` is the number of its colour, `label` and `text` are what it shows."""

    x: float
    y: float
    width: float
    height: float
    series: int
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class BarPlot:
    """Bars one below the other; `zero` is where no dollar is."""

    height: float
    zero: float
    bars: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class StackPlot:
    """A stack for each day. `ticks` are heights with their amount, `days` places with their day."""

    boxes: tuple[Box, ...]
    ticks: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]
    legend: tuple[tuple[int, str], ...]


def bar_plot(spans: Sequence[SpanBar]) -> BarPlot:
    low = min((0, *(min(each.start, each.end) for each in spans)))
    high = max((0, *(max(each.start, each.end) for each in spans)))
    scale = WIDTH / ((high - low) or 1)
    bars = tuple(
        Box(
            x=(min(each.start, each.end) - low) * scale,
            y=place * ROW + 16,
            # A saving of nothing is still seen.
            width=max(1.5, abs(each.end - each.start) * scale),
            height=12.0,
            series=place % SERIES,
            label=each.label,
            text=each.text,
        )
        for place, each in enumerate(spans)
    )
    return BarPlot(len(spans) * ROW, -low * scale, bars)


def stack_plot(costs: Iterable[tuple[str, str, NanoUsd]]) -> StackPlot:
    """Stack the costs of (day, name, cost)."""
    by_day: defaultdict[str, Counter[str]] = defaultdict(Counter)
    names: Counter[str] = Counter()
    for day, name, cost in costs:
        by_day[day][name] += cost
        names[name] += cost
    drawn = [name for name, _ in names.most_common(SERIES - (len(names) > SERIES))]
    legend = (*drawn, OTHER) if len(names) > len(drawn) else tuple(drawn)
    days, most = sorted(by_day), max((each.total() for each in by_day.values()), default=0) or 1
    step = (WIDTH - LEFT) / max(1, len(days))
    boxes = [
        box
        for place, day in enumerate(days)
        for box in _stack(day, by_day[day], drawn, LEFT + place * step, step, most)
    ]
    every = max(1, len(days) // _LABELLED)
    return StackPlot(
        boxes=tuple(boxes),
        ticks=tuple((_height(part, 1.0), shown(round(most * part))) for part in (0.0, 0.5, 1.0)),
        days=tuple((LEFT + (place + 0.5) * step, day[5:]) for place, day in enumerate(days) if place % every == 0),
        legend=tuple(enumerate(legend)),
    )


def _stack(day: str, costs: Counter[str], drawn: Sequence[str], x: float, step: float, most: NanoUsd) -> Iterable[Box]:
    rest = costs.total() - sum(costs[name] for name in drawn)
    below = 0
    for series, (name, cost) in enumerate((*((name, costs[name]) for name in drawn), (OTHER, rest))):
        if cost > 0:
            top = _height(below + cost, most)
            width = max(0.5, step * 0.82)
            yield Box(x + step * 0.09, top, width, _height(below, most) - top, series, f"{day}, {name}", shown(cost))
            below += cost


def _height(amount: float, most: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * amount / most
