"""`fleet table`: who answers which task rightly at which price, and the ladders that would do it for less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.table.promise import checked
from fleet.lab.table.rungs import Rung, ladder_changes, rung_of
from fleet.lab.trials import Trial, ladder_of, name_of
from fleet.lab.weekly.changes import Change, Verdict
from fleet.model.attempt import Usage
from fleet.model.errors import ConfigError
from fleet.reports.books import ReportBooks
from fleet.reports.periods import Period
from fleet.reports.proposals import without
from fleet.reports.week import weeks_of
from policies.budget import cost_usd
from policies.rules.rules import Rules

Ladder = Sequence[str]

USUAL_INPUT_TOKENS = 1000
LEAST_USD = 1e-9


@dataclass(frozen=True, slots=True)
class TaskTable:
    """The rungs of every task, what leaving one out would do, and the `ladders` that are proposed, by task.

    The promise of each ladder: with probability 1 - `delta` over the labels, the task is answered rightly at most
    `risk` less often. `unsaid` says by task why its ladder cannot be changed by the rules.
    """

    window: Period
    risk: float
    delta: float
    rungs: tuple[Rung, ...]
    changes: tuple[Change, ...]
    ladders: Mapping[str, Ladder]
    unsaid: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def task_table(
    books: ReportBooks, window: Period, rules: Rules, labels: Iterable[LabelledAnswer], promise: tuple[float, float]
) -> TaskTable:
    """Return the table of the window by the books and the labels, under a promise (risk, delta) for each task.

    Raises: LedgerUnavailable, DamagedArchive.
    """
    (risk, delta), labels = checked(promise), list(labels)
    disliked = Counter((each.target, each.task) for each in labels if each.propensity is None and not each.good)
    weeks = [replace(each, risk=risk) for each in weeks_of(books, window.since, window, rules, labels)]
    rungs = tuple(rung_of(each, disliked[each.target, each.task]) for each in weeks)
    changes = tuple(ladder_changes(weeks, delta))
    ladders: dict[str, Ladder] = {}
    unsaid: dict[str, str] = {}
    for change in changes:
        if change.verdict is Verdict.PROPOSED:
            try:
                ladders[change.task] = without(change, rules)
            except ConfigError as error:
                unsaid[change.task] = str(error)
    return TaskTable(window, risk, delta, rungs, changes, ladders, unsaid)


def prices_of(rules: Rules) -> dict[str, float]:
    """Return what an answer of each target costs in dollars, at a prompt and an answer of usual length."""
    usage = Usage(USUAL_INPUT_TOKENS, rules.estimates.output_tokens)
    return {name: max(cost_usd(usage, target), LEAST_USD) for name, target in rules.catalogue.targets.items()}


def began_at(chosen: Mapping[str, str], rules: Rules) -> tuple[dict[str, Ladder], dict[str, str]]:
    """Return the ladders that begin with the target chosen for each task, where they differ from those in force.

    Above it come the rungs of the ladder in force: those after it, or if it is not on that ladder the dearer ones. The
    second mapping says for other tasks why the rules cannot change their ladder alone.
    """
    found: dict[str, Ladder] = {}
    unsaid: dict[str, str] = {}
    for task, target in chosen.items():
        try:
            ladder = ladder_of(task, rules)
        except ConfigError as error:
            unsaid[task] = str(error)
            continue
        above = ladder[ladder.index(target) + 1 :] if target in ladder else _dearer(ladder, target, prices_of(rules))
        if (target, *above) != ladder:
            found[task] = (target, *above)
    return found, unsaid


def _dearer(ladder: Ladder, target: str, price: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(name for name in ladder if price[name] > price[target])


def experiment_of(ladders: Mapping[str, Ladder], day: str, trial: Trial, rules: Rules) -> dict[str, Any]:
    """Return the document of one experiment with all these ladders. Raises: ConfigError if there is none."""
    if not ladders:
        raise ConfigError("--start", "must be left out: no ladder is proposed")
    tasks = {task: list(ladder) for task, ladder in ladders.items()}
    return trial.of(name_of("table", day), list(ladders), {"phases": {rules.phase: {"tasks": tasks}}})
