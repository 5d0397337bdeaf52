"""Experiments as operators write them, a file each, and the rules of their arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from fleet.model.experiment import Arm, Experiment, Guardrail, Unit
from fleet.settings.documents import named, read_document, rules_from
from policies.experiments.arms import check_document, in_arm, merged
from policies.rules.rules import Rules
from policies.rules.sections import STRICT, Strict


@dataclass(frozen=True, slots=True)
class _ArmFile:
    """An arm; `rules` is a file of rules beside this one, or the parts of one that differ."""

    share: float
    rules: str | dict[str, Any] | None = None
    target: str | None = None
    prompt: str | None = None
    cache: str | None = None
    adapter: str | None = None

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class _ExperimentFile:
    name: str
    unit: Unit
    arms: dict[str, _ArmFile]
    salt: str = ""
    unit_field: str = "conversation"
    tenants: frozenset[str] | None = None
    tasks: frozenset[str] | None = None
    guardrails: dict[Guardrail, float | None] = field(default_factory=dict)
    margin: float = 0.02

    __pydantic_config__: ClassVar[Strict] = STRICT


_FILE = TypeAdapter(_ExperimentFile)


def load_experiment(path: Path) -> Experiment:
    """Return the experiment in a YAML file, with the rules that its arms name in it.

    Raises: ConfigError; `field` is the dotted path inside the file, `rule` ends with the file.
    """
    return experiment_in(read_document(path), path)


def experiment_in(document: Mapping[str, Any], path: Path) -> Experiment:
    """Return the experiment in a document that came from the file `path`, or might. Raises: as `load_experiment`."""
    file = named(path, lambda: _FILE.validate_python(document))
    arms = tuple(
        Arm(name, arm.share, _rules(arm.rules, path), arm.target, arm.prompt, arm.cache, arm.adapter)
        for name, arm in file.arms.items()
    )
    return Experiment(
        file.name,
        file.unit,
        arms,
        file.salt or file.name,
        file.unit_field,
        file.tenants,
        file.tasks,
        file.guardrails,
        file.margin,
    )


def _rules(given: str | dict[str, Any] | None, path: Path) -> dict[str, Any] | None:
    return read_document(path.parent / given) if isinstance(given, str) else given


class ArmRules:
    """Makes the rules of arms from the document of the rules in force."""

    def __init__(self, document: Mapping[str, Any], rules: Rules) -> None:
        self._document = document
        self._rules = rules

    def __call__(self, experiment: Experiment, arm: Arm) -> Rules:
        """Return the rules of an arm. Raises: ConfigError if they do not fit those in force."""
        if arm.rules is None:
            return in_arm(self._rules, experiment, arm)
        path = f"arms.{arm.name}.rules"
        check_document(self._document, arm.rules, path)
        changed = rules_from(merged(self._document, arm.rules), self._rules.catalogue, path)
        return in_arm(changed, experiment, arm)
