"""Turns a change that the weekly report proposes into an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.lab.trials import Trial, climbing, keep_from, ladder_of, name_of
from fleet.lab.weekly.changes import Change, Kind, Verdict
from fleet.model.calibration import ThresholdMode
from fleet.model.errors import ConfigError
from policies.rules.rules import Rules

_REFUSED = {
    Verdict.NO_SAVING: "is not sure to save anything",
    Verdict.BREAKS_PROMISE: "is not sure to keep the promise",
    Verdict.LABELS_MISSING: "cannot be judged by this week's data",
    Verdict.SEVERAL: "is about a target where several adapters, or one and none, answered: wait until one does",
    Verdict.NOT_TRIED: "is of an adapter that nobody has tried: `fleet adapters try`",
    Verdict.STOPPED: "is of an adapter that a gate stopped",
}


def experiment_for(number: int, changes: Sequence[Change], day: str, trial: Trial, rules: Rules) -> dict[str, Any]:
    """Return the document of an experiment with change `number` (from 1) of a week that ended with `day`.

    Raises: ConfigError that names --start if the week does not speak for the change, or the rules where they cannot
    express it.
    """
    if not 1 <= number <= len(changes):
        rule = f"be one of the {len(changes)} changes of the report" if changes else "be left out: there is no change"
        raise ConfigError("--start", f"must {rule}, not {number}")
    change = changes[number - 1]
    if change.verdict is not Verdict.PROPOSED:
        missing = f": {change.labels_missing} judged answers are missing" if change.labels_missing else ""
        raise ConfigError("--start", f"change {number} {_REFUSED[change.verdict]}{missing}")
    name = name_of(f"{change.kind}-{change.task}-{change.target}", day)
    if change.kind is Kind.ADAPTER:
        return trial.with_arm(name, [change.task], {"adapter": change.adapter})
    return trial.of(name, [change.task], rules_of_change(change, rules))


def rules_of_change(change: Change, rules: Rules) -> dict[str, Any]:
    """Return what a threshold or a table is in the rules. Raises: ConfigError where they cannot express it."""
    if change.threshold is None:
        return climbing(change.task, without(change, rules), rules)
    if rules.confidence.mode is ThresholdMode.GUARANTEE:
        raise ConfigError(
            "confidence.mode", "is guarantee: `fleet calibrate` tests lower thresholds, and counts the tests"
        )
    return keep_from(change.task, change.target, change.threshold)


def without(change: Change, rules: Rules) -> list[str]:
    """Return the ladder of the change's task without its target. Raises: ConfigError where that is none."""
    ladder = ladder_of(change.task, rules)
    left = [name for name in ladder if name != change.target]
    if len(left) == len(ladder):
        raise ConfigError(
            "--start", f"{change.target} is no longer on the ladder of {change.task}: {', '.join(ladder)}"
        )
    if not left:
        raise ConfigError(f"tasks.{change.task}", f"{change.target} is the only target on the ladder of {change.task}")
    return left
