"""A file of judged answers is read line by line, and a wrong line is named with its field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.files import read_labels
from fleet.model.attempt import Features
from fleet.model.calibration import OutputKind
from fleet.model.errors import ConfigError
from policies.confidence.signals import Evidence

FEATURES = {
    "sum": -0.4,
    "mean": -0.2,
    "min": -0.3,
    "q10": -0.3,
    "q25": -0.25,
    "count": 2,
    "margin": 3.1,
    "entropy": 0.2,
}
LINE: dict[str, Any] = {
    "target": "llama-8b",
    "task": "classify.intent",
    "kind": "token",
    "features": FEATURES,
    "good": True,
}
FULL = {"strong": "llama-70b", "strong_good": False, "weight": 2.5, "job": "q-1"}


def written(folder: Path, *lines: dict[str, Any] | str) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_line_is_read_with_all_it_says(tmp_path: Path) -> None:
    [label] = read_labels(written(tmp_path, {**LINE, **FULL}))

    assert label == LabelledAnswer(
        "llama-8b",
        "classify.intent",
        OutputKind.TOKEN,
        "q-1",
        Evidence(Features(**FEATURES)),
        good=True,
        strong_good=False,
        strong="llama-70b",
        weight=2.5,
    )


def test_what_is_not_said_is_not_known_and_each_line_is_a_question_of_its_own(tmp_path: Path) -> None:
    first, second = read_labels(written(tmp_path, LINE, "", {**LINE, "good": False}, "  "))

    assert (first.strong_good, first.strong, first.weight) == (None, None, 1.0)
    assert first.job != second.job
    assert read_labels(written(tmp_path, LINE)) == (first,)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target": None}, "labels.2.target"),
        ({"kind": "poem"}, "labels.2.kind"),
        ({"good": 1}, "labels.2.good"),
        ({"weight": 0}, "labels.2.weight"),
        ({"weight": -1.0}, "labels.2.weight"),
        ({"weight": 1e300}, "labels.2.weight"),
        ({"weight": 1e-300}, "labels.2.weight"),
        ({"task": "No/Such Task"}, "labels.2.task"),
        ({"task": "classify.*"}, "labels.2.task"),
        ({"strong": ""}, "labels.2.strong"),
        ({"mood": "fine"}, "labels.2.mood"),
        ({"features": {**FEATURES, "min": None}}, "labels.2.features.min"),
        ({"features": {**FEATURES, "sum": float("nan")}}, "labels.2.features.sum"),
        ({"features": {**FEATURES, "count": 0}}, "labels.2.features.count"),
        ({"features": {**FEATURES, "count": 10**400}}, "labels.2.features.count"),
        ({"features": {**FEATURES, "min": 0.7}}, "labels.2.features.min"),
        ({"features": {**FEATURES, "margin": 1e300}}, "labels.2.features.margin"),
        ({"features": {**FEATURES, "entropy": -0.1}}, "labels.2.features.entropy"),
        ({"features": {}}, "labels.2.features.sum"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_labels(written(tmp_path, LINE, {**LINE, **change}))
    assert raised.value.field == field


@pytest.mark.parametrize("line", ["not JSON", "[1]", "{"])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"^labels\.2: "):
        read_labels(written(tmp_path, LINE, line))
