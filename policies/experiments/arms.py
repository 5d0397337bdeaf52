"""What an arm changes: the rules a job is decided by, and the request its target is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fleet.model.errors import ConfigError
from fleet.model.experiment import Arm, Experiment
from fleet.model.job import ChatRequest
from policies.rules.rules import Rules
from policies.rules.sections import CacheMode, Phase

PER_JOB: Final = ("phase", "phases", "plans", "tasks", "complexity", "confidence", "retry", "router")
"""The parts of a rules document that may differ from arm to arm. All others are about the fleet as a whole."""


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules document with the changes in it: mappings are merged key by key, all else is replaced."""
    whole = dict(document)
    for name, value in changes.items():
        there = whole.get(name)
        whole[name] = merged(there, value) if isinstance(value, Mapping) and isinstance(there, Mapping) else value
    return whole


def check_document(document: Mapping[str, Any], changes: Mapping[str, Any], path: str) -> None:
    """Check that the changes are to what may differ from arm to arm; a whole document may repeat the rest.

    Raises: ConfigError naming the section.
    """
    whole = merged(document, changes)
    for name in changes:
        if name not in PER_JOB and whole.get(name) != document.get(name):
            raise ConfigError(
                f"{path}.{name}", f"must be as in the rules in force: arms may differ in {', '.join(PER_JOB)}"
            )


def in_arm(rules: Rules, experiment: Experiment, arm: Arm) -> Rules:
    """Return the rules of an arm: those given, with the arm's target, cache mode and adapter.

    The target takes the place of the first rung, for the experiment's tasks or, without any, on the ladders of all
    tiers and tasks; ladders of critical jobs and of images stay. Raises: ConfigError if the target is not known.
    """
    changed = rules if arm.target is None else _with_target(rules, experiment, arm.target)
    if arm.cache is not None:
        changed = _cached_as(CacheMode(arm.cache), changed, experiment.tasks)
    return replace(changed, arm=f"{experiment.name}.{arm.name}", adapter=arm.adapter)


def _cached_as(mode: CacheMode, rules: Rules, of: frozenset[str] | None) -> Rules:
    """Return the rules with this cache mode for the tasks; without a cache, no question is compared there either."""
    names = rules.tasks.keys() if of is None else of
    tasks = {name: replace(task, cache=mode) if name in names else task for name, task in rules.tasks.items()}
    cache = rules.cache
    if mode is CacheMode.OFF:
        cache = replace(cache, semantic=cache.semantic.without(names))
    return replace(rules, tasks=tasks, cache=cache)


def _with_target(rules: Rules, experiment: Experiment, target: str) -> Rules:
    phase = rules.phases[rules.phase]
    return replace(rules, phases={**rules.phases, rules.phase: _first(phase, experiment.tasks, target, rules)})


def _first(phase: Phase, tasks: frozenset[str] | None, target: str, rules: Rules) -> Phase:
    if tasks is None:
        tiers = {name: _led_by(target, getattr(phase, name)) for name in ("simple", "medium", "complex")}
        return replace(phase, **tiers, tasks={name: _led_by(target, ladder) for name, ladder in phase.tasks.items()})
    return replace(phase, tasks={**phase.tasks, **dict(_of_tasks(phase, tasks, target, rules))})


def _of_tasks(phase: Phase, tasks: frozenset[str], target: str, rules: Rules) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in tasks:
        task = rules.tasks.get(name)
        if name in phase.tasks:
            yield name, _led_by(target, phase.tasks[name])
        elif task is not None and task.tier is not None:
            yield name, _led_by(target, phase.of_tier(task.tier))
        else:
            yield name, _led_by(target, phase.medium)


def _led_by(target: str, ladder: tuple[str, ...]) -> tuple[str, ...]:
    return (target, *(name for name in ladder[1:] if name != target))


def asked_in(arm: Arm, request: ChatRequest) -> ChatRequest:
    """Return the request with the arm's prompt as its first message."""
    if arm.prompt is None:
        return request
    return {**request, "messages": [{"role": "system", "content": arm.prompt}, *request.get("messages", ())]}
