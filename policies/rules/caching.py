"""The section `cache` of `rules.yaml`: which answers are given again, and what is promised where questions differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from fleet.model.caching import CacheCalibration, SemanticMode
from fleet.model.target import Capability, Target
from policies.rules.sections import STRICT, CacheMode, Strict, Task

LONGEST_KEPT_SECONDS = 604_800.0
"""A week: what was true of an answer's world may not be for longer, and the broker takes no life beyond all bounds."""


@dataclass(frozen=True, slots=True)
class SemanticRules:
    """Rules of the semantic cache. `tasks` has its mode by task, and `tenants` overrides it by tenant and task.

    The promise of mode guarantee: with probability 1 - `delta`, at most a share `risk` of a tenant's requests of a task
    is served an answer that is not the right one. `explored` is the share of hits to which a model answers too.
    `verify` names a model of the fleet's own that is asked in one token about questions that are alike.
    """

    risk: float = 0.01
    delta: float = 0.10
    explored: float = 0.05
    verify: str | None = None
    tasks: Mapping[str, SemanticMode] = field(default_factory=dict)
    tenants: Mapping[str, Mapping[str, SemanticMode]] = field(default_factory=dict)

    __pydantic_config__: ClassVar[Strict] = STRICT

    def mode_of(self, tenant: str, task: str) -> SemanticMode:
        return self.tenants.get(tenant, {}).get(task) or self.tasks.get(task, SemanticMode.OFF)

    def covers(self, promise: CacheCalibration) -> bool:
        """Return whether the promise was tested for what these rules ask for, or for more."""
        risk, delta = promise.threshold.risk, promise.threshold.delta
        return risk is not None and risk <= self.risk and delta is not None and delta <= self.delta

    @property
    def is_used(self) -> bool:
        """Return whether it is on for any tenant and task."""
        modes = {*self.tasks.values(), *(mode for each in self.tenants.values() for mode in each.values())}
        return bool(modes - {SemanticMode.OFF})

    def without(self, tasks: Collection[str]) -> SemanticRules:
        """Return the rules with nothing said of these tasks, for which it is then off."""
        tenants = {name: _left(modes, tasks) for name, modes in self.tenants.items()}
        return replace(self, tasks=_left(self.tasks, tasks), tenants=tenants)

    def violations(self, tasks: Mapping[str, Task], targets: Mapping[str, Target]) -> Mapping[str, str]:
        """Return the broken rules by the path of their field, under `cache.semantic`."""
        found = {
            name: "must be more than 0 and less than 1" for name in ("risk", "delta") if not 0 < getattr(self, name) < 1
        }
        if not 0 < self.explored <= 1:
            found["explored"] = "must be more than 0, and at most 1: hits that nobody compares cannot be promised"
        if self.verify is not None and not _can_verify(targets.get(self.verify)):
            own = ", ".join(name for name, target in targets.items() if _can_verify(target))
            found["verify"] = f"must be a model of the fleet's own that gives log-probabilities: {own}"
        named = {f"tasks.{task}": (task, mode) for task, mode in self.tasks.items()}
        for tenant, modes in self.tenants.items():
            named |= {f"tenants.{tenant}.{task}": (task, mode) for task, mode in modes.items()}
        for path, (task, mode) in named.items():
            if task not in tasks:
                found[path] = "is not among the tasks"
            elif mode is not SemanticMode.OFF and tasks[task].cache is CacheMode.OFF:
                found[path] = (
                    f"needs `cache: repeatable` or `cache: any` at tasks.{task}: only what is kept can be found"
                )
        return found


def _can_verify(target: Target | None) -> bool:
    return target is not None and not target.is_cloud and Capability.LOGPROBS in target.capabilities


def _left(modes: Mapping[str, SemanticMode], tasks: Collection[str]) -> Mapping[str, SemanticMode]:
    return {task: mode for task, mode in modes.items() if task not in tasks}


@dataclass(frozen=True, slots=True)
class CacheRules:
    """Rules of the cache of answers. An entry is kept `keep_seconds`, and at most `entries` of each tenant.

    `enabled` is whether tenants have it; `tenants` overrides it. No tenant ever gets another's answer. `semantic` is
    what is given again to requests that are only alike.
    """

    keep_seconds: float = 86_400.0
    entries: int = 10_000
    enabled: bool = True
    tenants: Mapping[str, bool] = field(default_factory=dict)
    semantic: SemanticRules = field(default_factory=SemanticRules)

    __pydantic_config__: ClassVar[Strict] = STRICT

    def holds_for(self, tenant: str) -> bool:
        return self.tenants.get(tenant, self.enabled)
