"""Grafana dashboards as values, and the JSON that Grafana imports.

`document` places the panels, so that none overlap. Every query goes to the data source that the reader picks in the
dashboard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import ascii_uppercase
from typing import Any, Final

Json = dict[str, Any]

COLUMNS: Final = 24
HEIGHT: Final = 8
SCHEMA_VERSION: Final = 39
SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}


class PanelKind(StrEnum):
    """The type of a panel, as Grafana names it."""

    LINES = "timeseries"
    NUMBER = "stat"
    TABLE = "table"
    HEATMAP = "heatmap"
    TEXT = "text"


class Unit(StrEnum):
    """The unit of a panel's values, as Grafana names it."""

    COUNT = "short"
    PER_SECOND = "cps"
    SECONDS = "s"
    USD = "currencyUSD"
    SHARE = "percentunit"
    BOOLEAN = "bool"


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression; `legend` names its series by their labels. `exemplars` shows the jobs behind its samples."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel. `about` is the help behind its title, or the text of a panel of kind TEXT; `width` is in columns."""

    title: str
    queries: tuple[Query, ...] = ()
    unit: Unit = Unit.COUNT
    kind: PanelKind = PanelKind.LINES
    about: str = ""
    width: int = 8
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class PanelRow:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class DashboardVariable:
    """A choice at the top of a dashboard: the values of `label` among the series of `metric`."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    uid: str
    title: str
    about: str
    rows: tuple[PanelRow, ...]
    variables: tuple[DashboardVariable, ...] = ()
    since: str = "now-6h"


def document(dashboard: Dashboard) -> Json:
    """Return the dashboard as Grafana's JSON."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["fleet"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_FIRING]},
        "links": [_OTHERS],
        "templating": {"list": [_DATASOURCE, *map(_variable, dashboard.variables)]},
        "panels": [{"id": number, **each} for number, each in enumerate(_placed(dashboard.rows), 1)],
    }


def _placed(rows: Sequence[PanelRow]) -> Iterator[Json]:
    """Yield the panels with their places: from left to right, a new line where the next one does not fit."""
    y = 0
    for row in rows:
        yield {"type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": _place(0, y, COLUMNS, 1)}
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + HEIGHT
            yield {**_panel(panel), "gridPos": _place(x, y, panel.width, HEIGHT)}
            x += panel.width
        y += HEIGHT


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> Json:
    shared: Json = {"type": panel.kind.value, "title": panel.title}
    if panel.kind is PanelKind.TEXT:
        return {**shared, "options": {"mode": "markdown", "content": panel.about}}
    return {
        **shared,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": [_target(panel.kind, *each) for each in zip(ascii_uppercase, panel.queries, strict=False)],
        "fieldConfig": {"defaults": {"unit": panel.unit.value, "min": 0, **_drawn(panel)}, "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(kind: PanelKind, letter: str, query: Query) -> Json:
    now = kind in (PanelKind.NUMBER, PanelKind.TABLE)
    return {
        "refId": letter,
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "format": {PanelKind.HEATMAP: "heatmap", PanelKind.TABLE: "table"}.get(kind, "time_series"),
        "instant": now,
        "range": not now,
        "exemplar": query.exemplars,
    }


def _drawn(panel: Panel) -> Json:
    if panel.kind is not PanelKind.LINES:
        return {}
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    return {"custom": {"fillOpacity": 30 if panel.stacked else 5, "showPoints": "never", "stacking": stacking}}


def _variable(variable: DashboardVariable) -> Json:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
    }


_OPTIONS: Final[dict[PanelKind, Json]] = {
    PanelKind.LINES: {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    PanelKind.NUMBER: {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "textMode": "auto"},
    PanelKind.TABLE: {"showHeader": True},
    PanelKind.HEATMAP: {"calculate": False, "yAxis": {"axisPlacement": "left"}, "cellGap": 1},
}

_DATASOURCE: Final[Json] = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "regex": "",
    "options": [],
}

_FIRING: Final[Json] = {
    "name": "Alerts",
    "datasource": SOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": 'ALERTS{alertname=~"Fleet.*", alertstate="firing"}',
    "titleFormat": "{{alertname}}",
}

_OTHERS: Final[Json] = {
    "type": "dashboards",
    "title": "Fleet",
    "tags": ["fleet"],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
}
