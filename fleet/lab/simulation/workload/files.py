"""Scenario files: shipped ones by name, others by path.

A file may say `like: NAME` and then holds only what differs: mappings are merged, everything else is replaced, and null
takes a key out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from fleet.lab.simulation.workload.scenario import ScalingKind, Scenario
from fleet.model.errors import ConfigError
from fleet.settings.documents import named, read_document, shipped
from policies.rules.sections import STRICT, Strict

_SCENARIO = TypeAdapter(Scenario)
_FIGURES = "figures"
_DEEPEST = 4
"""Maximum length of a chain of `like`: more is a circle."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a document in docs/explanation/cost-models.md and the scenario that stands for it.

    `usd` is the document's range for a month; `right_usd` the same by its own prices without its mistakes.
    `scenario` is a shipped one, `set` what differs from it; `why` says why our figure is another.
    """

    document: str
    what: str
    usd: tuple[float, float]
    scenario: str
    why: str
    set: Mapping[str, Any] = field(default_factory=dict)
    right_usd: float | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class _FiguresFile:
    figures: tuple[Figure, ...]

    __pydantic_config__: ClassVar[Strict] = STRICT


_FIGURES_FILE = TypeAdapter(_FiguresFile)


def names() -> list[str]:
    """Return the names of the shipped scenarios."""
    folder = shipped("fleet.lab.simulation", "scenarios")
    return sorted(
        path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("_") and path.stem != _FIGURES
    )


def load_scenario(given: str) -> Scenario:
    """Load a shipped scenario or a file; after an @ comes another phase of the rules or another way of scaling.

    Raises: ConfigError naming the field and the rule.
    """
    name, _, variant = given.partition("@")
    scenario = _built(_path(name), {})
    if not variant:
        return scenario
    titled = replace(scenario, title=f"{scenario.title}, {variant}")
    if variant in set(ScalingKind):
        return replace(titled, scaling=replace(scenario.scaling, by=ScalingKind(variant)))
    return replace(titled, phase=variant)


def load_figures() -> tuple[Figure, ...]:
    source = shipped("fleet.lab.simulation", f"scenarios/{_FIGURES}.yaml")
    return named(source, lambda: _FIGURES_FILE.validate_python(read_document(source))).figures


def scenario_of(figure: Figure) -> Scenario:
    return _built(_path(figure.scenario), {**figure.set, "title": figure.what})


def _built(path: Path, changes: Mapping[str, Any]) -> Scenario:
    document = _merged(_document(path, _DEEPEST), changes)
    return named(path, lambda: _SCENARIO.validate_python(document))


def _path(name: str) -> Path:
    path = shipped("fleet.lab.simulation", f"scenarios/{name}.yaml")
    if path.is_file():
        return path
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    raise ConfigError("scenario", f"{name!r} is none of {', '.join(names())}, and no YAML file")


def _document(path: Path, deepest: int) -> dict[str, Any]:
    document = read_document(path)
    like = document.pop("like", None)
    if like is None:
        return document
    if deepest == 0:
        raise ConfigError("like", f"leads on and on (in {path})")
    return _merged(_document(_path(str(like)), deepest - 1), document)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(before, value)
        else:
            merged[key] = value
    return merged
