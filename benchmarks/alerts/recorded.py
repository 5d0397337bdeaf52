"""Scrapes of a real run, and which alerts Prometheus' own rule engine raises on them.

One scrape stands for one minute. The engine is promtool's, which reads the shipped rules and keeps their `for:` on a
clock of its own, so that an hour of alerts takes no hour.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

RULES: Final = Path(__file__).parents[2] / "deployments" / "monitoring" / "alerts.yaml"

_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? ([^ \n]+)", re.M)
"""A line of Prometheus' text format: name, labels and value."""

_BUCKET: Final = "_bucket"
"""The end of the names of series that no alert reads, nine in ten of a scrape."""

Series = Mapping[str, Sequence[str]]
"""The values of each series, one a minute, in promtool's words: `_` where there is none, `stale` where it ended."""


class NotAsDeclared(Exception):
    """The alerts on a run are not those that were declared; the text is promtool's."""


def alerts() -> Mapping[str, Mapping[str, Any]]:
    """Return the shipped alerts by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def total(scrape: str, name: str) -> float:
    """Return the sum over all series of this name."""
    return sum(float(value) for found, _, value in _SAMPLE.findall(scrape) if found == name)


def series_of(minutes: Sequence[Sequence[str | None]]) -> Series:
    """Return the series of a run: for each minute the scrape of every process, None where it did not answer."""
    found: dict[str, list[str]] = {}
    for minute, scrapes in enumerate(minutes):
        for process, scrape in enumerate(scrapes):
            for name, value in _samples(process, scrape or ""):
                values = found.setdefault(name, [])
                values += _missing(values, minute)
                values.append(value)
    return {name: [*values, *_missing(values, len(minutes))] for name, values in found.items()}


def _samples(process: int, scrape: str) -> Iterator[tuple[str, str]]:
    """Yield each series with the labels that Prometheus adds, and its value."""
    for name, labels, value in _SAMPLE.findall(scrape):
        if not name.endswith(_BUCKET):
            own = [labels[1:-1]] if labels else []
            added = (f'instance="{process}"', 'job="fleet"')
            yield f"{name}{{{','.join((*own, *added))}}}", value


def _missing(values: Sequence[str], minutes: int) -> list[str]:
    """Return what stands for the minutes without a value: Prometheus marks the first one where there was one before."""
    gap = minutes - len(values)
    return ["stale", *["_"] * (gap - 1)] if values and gap else ["_"] * gap


def prove(series: Series, last_calm: int, due: Mapping[str, int], folder: Path) -> None:
    """Check that each alert of `due` fires at its minute, that no other ever fires, and none up to `last_calm`.

    Raises: NotAsDeclared.
    """
    end = max(map(len, series.values())) - 1
    tests = [_fired_by(last_calm, ()), _fired_by(end, due)]
    tests += [
        _expected(minute, f"ALERTS{{alertstate='firing', alertname='{name}'}}", [name]) for name, minute in due.items()
    ]
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": " ".join(values)} for name, values in series.items()],
        "promql_expr_test": tests,
    }
    path = folder / "recorded.test.json"  # which is YAML as well
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotAsDeclared(done.stdout + done.stderr)


def _fired_by(minute: int, names: Collection[str]) -> dict[str, Any]:
    """Return promtool's test that these alerts, and no others, have fired up to this minute."""
    return _expected(minute, f"max_over_time(ALERTS{{alertstate='firing'}}[{minute + 1}m])", names)


def _expected(minute: int, firing: str, names: Collection[str]) -> dict[str, Any]:
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
    return {"expr": f"max by (alertname) ({firing})", "eval_time": f"{minute}m", "exp_samples": samples}
