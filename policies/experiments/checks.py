"""What is wrong with an experiment, and the steps it may take: start, ramp, stop, promote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fleet.model.adapter import ADAPTER_DIGEST
from fleet.model.errors import ConfigError, InvalidExperiment
from fleet.model.experiment import CONTROL, EXPERIMENT_NAME, Arm, Experiment, Stage
from fleet.model.job import TENANT
from policies.rules.rules import Rules
from policies.rules.sections import CacheMode

MOST_PROMPT_CHARACTERS = 20_000


def check(experiment: Experiment, rules: Rules) -> None:
    """Check an experiment against the rules in force. Raises: ConfigError naming the field and the rule."""
    for path, rule in _violations(experiment, rules):
        raise ConfigError(path, rule)


def _violations(experiment: Experiment, rules: Rules) -> Iterator[tuple[str, str]]:
    if EXPERIMENT_NAME.fullmatch(experiment.name) is None:
        yield "name", f"must match {EXPERIMENT_NAME.pattern}"
    if not 1 <= len(experiment.arms) <= 2:
        yield "arms", "must be one or two beside the control"
    names = [arm.name for arm in experiment.arms]
    if len(set(names)) < len(names):
        yield "arms", "must have names of their own"
    for arm in experiment.arms:
        for field, rule in _of_arm(arm, rules):
            yield f"arms.{arm.name}.{field}", rule
    if sum(arm.share for arm in experiment.arms) > 1.0:
        yield "arms", "must have shares that are 1 at most together"
    yield from _scope(experiment, rules)
    if not 0 < experiment.margin < 1:
        yield "margin", "must be more than 0 and less than 1"
    for guardrail, tolerance in experiment.tolerances.items():
        if tolerance is not None and not 0 <= tolerance < 1:
            yield f"guardrails.{guardrail}", "must be at least 0 and less than 1; null turns it off"


def _of_arm(arm: Arm, rules: Rules) -> Iterator[tuple[str, str]]:
    if EXPERIMENT_NAME.fullmatch(arm.name) is None or arm.name == CONTROL:
        yield "name", f"must match {EXPERIMENT_NAME.pattern} and not be {CONTROL!r}, which is the arm of all others"
    if not 0 <= arm.share <= 1:
        yield "share", "must be between 0 and 1"
    if (arm.rules or arm.target or arm.prompt or arm.cache or arm.adapter) is None:
        yield "rules", "must differ from the control: name rules, a target, a prompt, a cache mode or an adapter"
    known = rules.catalogue.targets
    if arm.target is not None and arm.target not in known:
        yield "target", f"{arm.target!r} is not in the catalogue: {', '.join(known)}"
    if arm.prompt is not None and not 0 < len(arm.prompt) <= MOST_PROMPT_CHARACTERS:
        yield "prompt", f"must have at least one and at most {MOST_PROMPT_CHARACTERS} characters"
    if arm.cache is not None and arm.cache not in list(CacheMode):
        yield "cache", f"{arm.cache!r} is none of {', '.join(CacheMode)}"
    if arm.adapter is not None and ADAPTER_DIGEST.fullmatch(arm.adapter) is None:
        yield "adapter", f"{arm.adapter!r} must be the digest of a registered version, 64 hex digits"
    elif arm.adapter is not None and all(target.adapters is None for target in known.values()):
        yield "adapter", "cannot answer: no target takes adapters (`adapters` in its row, or FLEET_ADAPTERS)"


def _scope(experiment: Experiment, rules: Rules) -> Iterator[tuple[str, str]]:
    for name, names in (("tenants", experiment.tenants), ("tasks", experiment.tasks)):
        if names is not None and not names:
            yield name, "needs at least one name; leave it out for all"
    for task in sorted(experiment.tasks or ()):
        if task not in rules.tasks:
            yield "tasks", f"{task!r} is not among the tasks of the rules"
    for tenant in sorted(experiment.tenants or ()):
        if TENANT.fullmatch(tenant) is None:
            yield "tenants", f"{tenant!r} must match {TENANT.pattern}"
    if not experiment.unit_field:
        yield "unit_field", "must name a field of a job's metadata"


def started(experiment: Experiment, others: Iterable[Experiment], now: float) -> Experiment:
    """Return the experiment as it starts beside these. Raises: InvalidExperiment if a job could be in two at once."""
    for other in others:
        if other.name == experiment.name:
            raise InvalidExperiment(
                "name", f"{other.name!r} is taken: the ledger tells experiments apart by their names"
            )
        if other.stage is not Stage.STOPPED and _overlap(experiment, other):
            rule = f"overlap with those of {other.name!r}, which is {other.stage}: a job is in one experiment at most"
            raise InvalidExperiment("tenants, tasks", rule)
    return replace(experiment, stage=Stage.RUNNING, winner=None, why=None, started_at=now, changed_at=now)


def _overlap(one: Experiment, other: Experiment) -> bool:
    return meet(one.tenants, other.tenants) and meet(one.tasks, other.tasks)


def meet(one: frozenset[str] | None, other: frozenset[str] | None) -> bool:
    """Return whether a name can be in both; None is every name."""
    return one is None or other is None or bool(one & other)


def ramped(experiment: Experiment, name: str | None, share: float, now: float) -> Experiment:
    """Return the experiment with a larger share for an arm. Raises: InvalidExperiment if it may not have it."""
    _must_run(experiment)
    arm = _named(experiment, name)
    if not arm.share < share <= 1.0:
        rule = f"must be above the present {arm.share:g}, and at most 1: nobody leaves an arm; stop it instead"
        raise InvalidExperiment(f"arms.{arm.name}.share", rule)
    arms = tuple(replace(each, share=share) if each is arm else each for each in experiment.arms)
    if sum(each.share for each in arms) > 1.0:
        raise InvalidExperiment("arms", "must have shares that are 1 at most together")
    return replace(experiment, arms=arms, changed_at=now)


def stopped(experiment: Experiment, why: str, now: float) -> Experiment:
    """Return the experiment at its end; all go on as control. One that was stopped before stays as it is."""
    if experiment.stage is Stage.STOPPED:
        return experiment
    return replace(experiment, stage=Stage.STOPPED, why=why, changed_at=now)


def promoted(experiment: Experiment, name: str | None, why: str, now: float) -> Experiment:
    """Return the experiment with one arm for everybody. Raises: InvalidExperiment if it does not run."""
    _must_run(experiment)
    return replace(experiment, stage=Stage.PROMOTED, winner=_named(experiment, name).name, why=why, changed_at=now)


def _must_run(experiment: Experiment) -> None:
    if experiment.stage is not Stage.RUNNING:
        why = f" ({experiment.why})" if experiment.why else ""
        raise InvalidExperiment("stage", f"{experiment.name!r} must be running, and is {experiment.stage}{why}")


def _named(experiment: Experiment, name: str | None) -> Arm:
    """Return the arm of this name, or the only one. Raises: InvalidExperiment if it is not clear which."""
    if name is None and len(experiment.arms) == 1:
        return experiment.arms[0]
    found = None if name is None else experiment.arm(name)
    if found is None:
        raise InvalidExperiment("arm", f"must be one of {', '.join(arm.name for arm in experiment.arms)}")
    return found
