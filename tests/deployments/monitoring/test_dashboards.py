"""The dashboards in the repository are those that the generator writes, and ask for series that there are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.monitoring.dashboards import DASHBOARDS, FOLDER, rendered
from deployments.monitoring.panels import COLUMNS

FILES = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in DASHBOARDS}


def queries() -> Iterator[Any]:
    for name, file in FILES.items():
        for panel in file["panels"]:
            for target in panel.get("targets", []):
                yield pytest.param(target["expr"], id=f"{name}: {panel['title']} {target['refId']}")


def places(file: dict[str, Any]) -> Counter[tuple[int, int]]:
    """How many panels cover each cell of the grid."""
    covered: Counter[tuple[int, int]] = Counter()
    for panel in file["panels"]:
        place = panel["gridPos"]
        columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        covered.update((x, y) for x in columns for y in lines)
    return covered


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_file_is_what_the_generator_writes(name: str) -> None:
    """Run `python -m deployments.monitoring.dashboards` where this fails."""
    assert (FOLDER / f"{name}.json").read_text() == rendered(DASHBOARDS[name])


def test_there_is_no_file_without_a_dashboard() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(DASHBOARDS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_covers_another_or_is_wider_than_the_page(name: str) -> None:
    covered = places(FILES[name])
    assert set(covered.values()) == {1}
    assert max(x for x, _ in covered) < COLUMNS


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_reads_the_source_that_the_reader_picks(name: str) -> None:
    written = json.dumps(FILES[name])
    assert set(re.findall(r'"uid": "(\$\{\w+\})"', written)) == {"${datasource}"}
    assert len({panel["id"] for panel in FILES[name]["panels"]}) == len(FILES[name]["panels"])


def test_every_dashboard_has_a_name_of_its_own() -> None:
    assert (
        len({file["uid"] for file in FILES.values()}) == len({file["title"] for file in FILES.values()}) == len(FILES)
    )


@pytest.mark.parametrize("expr", list(queries()))
def test_every_query_reads_series_and_labels_of_the_catalogue(expr: str, read_by: Any) -> None:
    found = read_by(expr)
    assert found
    for reading in found:
        assert reading.metric is not None, reading.series
        assert reading.labels <= {"le", *reading.metric.prometheus_labels}


@pytest.mark.parametrize("expr", list(queries()))
def test_what_every_dispatcher_reports_alike_is_not_added_up_and_all_else_is(expr: str, read_by: Any) -> None:
    for reading in read_by(expr):
        is_age = reading.series.endswith("_seconds")
        assert reading.aggregation == "max" if reading.metric.shared or is_age else reading.aggregation == "sum"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_of_a_query_is_a_choice_of_its_dashboard(name: str) -> None:
    used = set(
        re.findall(r"\$(?!__)(\w+)", " ".join(t["expr"] for p in FILES[name]["panels"] for t in p.get("targets", [])))
    )
    assert used == {each["name"] for each in FILES[name]["templating"]["list"]} - {"datasource"}
