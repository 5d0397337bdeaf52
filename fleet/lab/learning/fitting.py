"""The step from labels to calibrations: one for every key that deserves one, and the reason where there is none."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np

from fleet.lab.learning import refit
from fleet.lab.learning.calibrate import Goal, UnusableLabels, calibrate
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.familiarity import FEWEST_OF_A_TASK, familiarity, tasks_lost
from fleet.lab.learning.labels import weighted
from fleet.lab.learning.limits import EscalationLimits, limits_of
from fleet.lab.learning.looking import look_at, tests_so_far
from fleet.model.calibration import ANY, NO_LOOKS, Calibration, CalibrationKey, Familiarity, ThresholdMode
from fleet.model.errors import ConfigError
from fleet.model.target import Capability, Target
from policies.confidence.familiarity import knows_task
from policies.confidence.lookup import fallbacks, is_of
from policies.rules.rules import Rules

Calibrations = Mapping[CalibrationKey, Calibration]
Groups = Mapping[CalibrationKey, Sequence[LabelledAnswer]]


@dataclass(frozen=True, slots=True)
class FitOutcome:
    """The outcome of one key. `reason` says why in words; numbers are None where nothing was measured.

    `calibration` is what was fitted, also where it was not `accepted`; `limits` say what its promise must escalate.
    `counted` is what stays in force then, including the test of its promise that was spent on this. A key that `waits`
    was not fitted: too few labels are new, or the new calibration would replace one that also knows the tasks `lost`.
    """

    key: CalibrationKey
    labels: int
    accepted: bool
    reason: str
    calibration: Calibration | None = None
    verdict: refit.RefitDecision | None = None
    counted: Calibration | None = None
    limits: EscalationLimits | None = None
    waits: bool = False
    lost: tuple[str, ...] = ()

    @property
    def to_store(self) -> Calibration | None:
        """The calibration to store: the one put in force, or the old one with the number of tests of its promise."""
        return self.calibration if self.accepted else self.counted


def fit_all(
    labels: Sequence[LabelledAnswer],
    in_force: Calibrations,
    rules: Rules,
    now: float,
    *,
    allow_fewer_tasks: bool = False,
    spent: Mapping[CalibrationKey, int] = MappingProxyType({}),
) -> list[FitOutcome]:
    """Fit every key, in order. A key's labels of held-out jobs decide whether the fit of the others is accepted.

    A wide calibration whose labels lack a task of the one in force is not fitted, unless `allow_fewer_tasks`: jobs of
    that task would be unfamiliar, and the two cannot be merged, for no label says that the new threshold suits it.
    One that was withdrawn promises nothing for any task, so none is lost with it.
    The same labels and calibrations in force give the same outcomes. `now` is unix seconds. `spent` are tests of
    promises that were made besides those of `in_force`: see `tests_so_far`.
    Raises: ConfigError if a label is of a target that the catalogue does not know, or compared with one.
    """
    known = rules.catalogue.targets
    for label in labels:
        for field, name in (("target", label.target), ("strong", label.strong)):
            if name is not None and name not in known:
                raise ConfigError(f"labels.{field}", f"{name!r} must be one of {', '.join(known)}")
    groups = grouped(replace(each, target=rules.catalogue.original(known[each.target]).name) for each in labels)
    found: list[FitOutcome] = []
    spent = Counter(spent) | tests_so_far(in_force.values())
    for key in sorted(groups):
        before = in_force.get(key)
        lost = _lost(key, groups[key], before, known[key.target])
        if lost and not allow_fewer_tasks and (before is None or before.withdrawn is None):
            found.append(FitOutcome(key, len(groups[key]), False, _stays(lost), waits=True, lost=lost))
        else:
            outcome = _fit_one(key, groups, in_force, rules, now, spent[key.without_adapter])
            spent |= tests_so_far([outcome.to_store] if outcome.to_store else ())
            found.append(replace(outcome, lost=lost))
    return found


def _lost(
    key: CalibrationKey, labels: Sequence[LabelledAnswer], before: Calibration | None, target: Target
) -> tuple[str, ...]:
    if before is None or not is_of(before, target):
        return ()
    return tasks_lost(before, [each.task for each in labels])


def _stays(lost: tuple[str, ...]) -> str:
    if lost == (ANY,):
        return "the one in force stays: it speaks of every task"
    return f"the one in force stays: it knows {names_of(lost)}, of which there are not {FEWEST_OF_A_TASK} labels here"


def names_of(tasks: Sequence[str], most: int = 3) -> str:
    """Return the first tasks by name, and how many more there are."""
    more = f" and {len(tasks) - most} more" if len(tasks) > most else ""
    return ", ".join(tasks[:most]) + more


def grouped(labels: Iterable[LabelledAnswer]) -> Groups:
    """Group the labels under each key that covers them and is worth a calibration of its own.

    Those are every kind of answer to a task, all answers of a target with one adapter or none, and keys between if they
    bring together more than any narrower key does.
    """
    leaves: defaultdict[CalibrationKey, list[LabelledAnswer]] = defaultdict(list)
    for label in labels:
        leaves[CalibrationKey(label.target, label.task, label.kind, label.adapter)].append(label)
    under: defaultdict[CalibrationKey, set[CalibrationKey]] = defaultdict(set)
    for leaf in leaves:
        for key in fallbacks(leaf.target, leaf.family, leaf.kind, leaf.adapter):
            under[key].add(leaf)
    worth = {key: found for key, found in under.items() if _is_worth_it(key, found, under)}
    return {key: [each for leaf in sorted(found) for each in leaves[leaf]] for key, found in worth.items()}


def _is_worth_it(
    key: CalibrationKey, leaves: Collection[CalibrationKey], under: Mapping[CalibrationKey, Collection[CalibrationKey]]
) -> bool:
    if key in leaves or key == CalibrationKey(key.target, adapter=key.adapter):
        return True
    narrower = (found for other, found in under.items() if key in _wider(other))
    return all(found != leaves for found in narrower)


def _fit_one(
    key: CalibrationKey, groups: Groups, in_force: Calibrations, rules: Rules, now: float, spent: int
) -> FitOutcome:
    labels, target = groups[key], rules.catalogue.targets[key.target]
    rng = np.random.default_rng(_seed(key))
    before = in_force.get(key)
    look = look_at(labels, before, target, goal_of(target, rules), now, spent)
    if look.too_soon is not None:
        limits = None if before is None else limits_of(before, weighted(labels))
        return FitOutcome(key, len(labels), False, look.too_soon, limits=limits, waits=True)
    goal = look.goal
    parent = _parent(key, groups, target, now, rng)
    found = _calibrated(key, target, [each for each in labels if not refit.heldout(each.job)], goal, parent, now, rng)
    if isinstance(found, UnusableLabels):
        return FitOutcome(key, len(labels), False, f"{found.field}: {found.rule}")
    current = _judging_now(key, labels, target, in_force)
    to_beat = current.scorer if current is not None and _serves(current, goal) else None
    judging = weighted([each for each in labels if refit.heldout(each.job)])
    try:
        verdict = refit.accept(found.scorer, to_beat, judging, rng)
    except ConfigError as error:
        return FitOutcome(key, len(labels), False, f"{error.field}: {error.rule}", found)
    found = replace(found, familiar=_familiar(labels, key, current))
    looks = look.looks_after(found.threshold)
    named = replace(found, version=version_of(found), looks=looks)
    counted = None if before is None or before.looks == looks else replace(before, looks=looks)
    reason = verdict.reason.replace("_", " ")
    limits = limits_of(named, weighted(labels))
    return FitOutcome(key, len(labels), verdict.accepted, reason, named, verdict, counted, limits)


def _seed(key: CalibrationKey) -> int:
    """Return a number of the key's own; those without an adapter have kept theirs since there were none."""
    return zlib.crc32(repr(key).replace(", adapter=''", "").encode())


def _familiar(labels: Sequence[LabelledAnswer], key: CalibrationKey, current: Calibration | None) -> Familiarity:
    """Return what the labels make familiar; if they lack texts, the region of `current`, which judges now, stays."""
    asked = {each.job: (each.request, each.task) for each in labels if each.request is not None}
    requests, tasks = [request for request, _ in asked.values()], [task for _, task in asked.values()]
    found = familiarity(key.family, [each.task for each in labels], requests, tasks)
    if not _have_texts(labels, found.tasks):
        found = replace(found, region=None)
    if found.region is None and current is not None and current.familiar is not None:
        return replace(found, region=current.familiar.region)
    return found


def _have_texts(labels: Sequence[LabelledAnswer], tasks: Sequence[str]) -> bool:
    """Return whether each task has enough texts, or all of its texts: else the others' region would shut it out."""
    asked = Counter(task for task, _ in {(each.task, each.job) for each in labels})
    known = Counter(task for task, _ in {(each.task, each.job) for each in labels if each.request is not None})
    return all(known[task] >= min(asked[task], FEWEST_OF_A_TASK) for task in tasks)


def _calibrated(
    key: CalibrationKey,
    target: Target,
    labels: Sequence[LabelledAnswer],
    goal: Goal,
    parent: Calibration | None,
    now: float,
    rng: np.random.Generator,
) -> Calibration | UnusableLabels:
    if not labels:
        return UnusableLabels("labels", "must be more: all of the few there are were held out to judge by")
    return calibrate(key, target, weighted(labels), strong_of(labels), goal, parent, now, "", rng)


def _parent(
    key: CalibrationKey, groups: Groups, target: Target, now: float, rng: np.random.Generator
) -> Calibration | None:
    """Fit the other answers of the nearest wider key that has any: no label counts twice."""
    own = {id(each) for each in groups[key]}
    for wider in _wider(key):
        others = [each for each in groups.get(wider, ()) if id(each) not in own and not refit.heldout(each.job)]
        if others:
            found = _calibrated(wider, target, others, Goal(ThresholdMode.FIXED), None, now, rng)
            return found if isinstance(found, Calibration) else None
    return None


def _wider(key: CalibrationKey) -> Iterator[CalibrationKey]:
    """Return the wider keys that cover this one, nearest first."""
    return (each for each in fallbacks(key.target, key.family, key.kind, key.adapter) if each != key)


def _judging_now(
    key: CalibrationKey, labels: Sequence[LabelledAnswer], target: Target, in_force: Calibrations
) -> Calibration | None:
    """Return the calibration that judges these answers now: the key's or the nearest wider one that knows a task."""
    tasks = {each.task for each in labels}
    for each in (key, *_wider(key)):
        found = in_force.get(each)
        if found is not None and is_of(found, target) and any(knows_task(found, task) for task in tasks):
            return found
    return None


def _serves(calibration: Calibration, goal: Goal) -> bool:
    """Return whether its threshold is the wanted one: else a new one is needed, and an equally good scorer will do."""
    if goal.mode is ThresholdMode.FIXED:
        return calibration.withdrawn is None
    threshold = calibration.threshold
    if calibration.withdrawn is not None or threshold is None or threshold.mode is not goal.mode:
        return False
    promised = (threshold.risk, threshold.delta, threshold.labels_missing)
    return goal.mode is ThresholdMode.BUDGET or promised == (goal.risk, goal.delta, 0)


def strong_of(labels: Iterable[LabelledAnswer]) -> str | None:
    """Return the stronger target most of these answers were compared with; None if there was none."""
    counts = Counter(each.strong for each in labels if each.strong is not None)
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def goal_of(target: Target, rules: Rules) -> Goal:
    """Return the rules' aim for a threshold; a promise is split evenly over the tiers of the target's longest route.

    The last tier of a ladder has no threshold, nor has a target without log-probabilities.
    """
    wanted = rules.confidence
    tiers = max((_tiers(ladder) for ladder in rules.routes.by_tier.values() if target in ladder), default=1)
    share = max(tiers, 1)
    return Goal(wanted.mode, wanted.risk / share, wanted.delta / share, wanted.escalation_rate)


def _tiers(ladder: Sequence[Target]) -> int:
    return sum(Capability.LOGPROBS in target.capabilities for target in ladder[:-1])


def version_of(calibration: Calibration) -> str:
    """Return the day and a digest of everything that was fitted: another fit never has the same name."""
    day = datetime.fromtimestamp(calibration.fitted_at, UTC).strftime("%Y%m%d")
    content = repr(replace(calibration, version="", fitted_at=0.0, looks=NO_LOOKS))
    return f"{day}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


def in_force_after(in_force: Calibrations, outcomes: Iterable[FitOutcome]) -> dict[CalibrationKey, Calibration]:
    """Return the calibrations in force once all accepted ones are, with every test of a promise counted."""
    return {**in_force, **{each.key: each.to_store for each in outcomes if each.to_store}}
