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
    disliked = Counter(
        (each.target, each.task, each.adapter) for each in labels if each.propensity is None and not each.good
    )
    weeks = [replace(each, risk=risk) for each in weeks_of(books, window.since, window, rules, labels)]
    rungs = tuple(rung_of(each, disliked[each.target, each.task, each.version]) for each in weeks)
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


@dataclass(frozen=True, slots=True)
class FirstRung:
    """The first rung of a ladder: a target, and the most tokens of its answers; None for as many as asked."""

    target: str
    tokens: int | None = None

    @staticmethod
    def named(name: str) -> FirstRung:
        """Return the rung of a name such as `llama-8b` or `llama-8b@128`."""
        target, at, tokens = name.rpartition("@")
        return FirstRung(target, int(tokens)) if at and tokens.isdecimal() and int(tokens) > 0 else FirstRung(name)

    def usd(self, rules: Rules) -> float | None:
        """Return what an answer costs at a prompt of usual length; None if the catalogue has no such target."""
        target = rules.catalogue.get(self.target)
        if target is None:
            return None
        usual = rules.estimates.output_tokens
        return max(LEAST_USD, cost_usd(Usage(USUAL_INPUT_TOKENS, min(usual, self.tokens or usual)), target))


def began_at(chosen: Mapping[str, str], rules: Rules) -> tuple[dict[str, Ladder], dict[str, str]]:
    """Return the ladders that begin with the rung chosen for each task, where that is not what is in force.

    The first name of a ladder may have a budget (`llama-8b@128`). Above it come the rungs of the ladder in force: those
    after it, or if it is not on that ladder the dearer ones. The second mapping says for other tasks why the rules
    cannot change their ladder alone.
    """
    found: dict[str, Ladder] = {}
    unsaid: dict[str, str] = {}
    for task, name in chosen.items():
        first = FirstRung.named(name)
        try:
            ladder = ladder_of(task, rules)
        except ConfigError as error:
            unsaid[task] = str(error)
            continue
        there = first.target in ladder
        above = ladder[ladder.index(first.target) + 1 :] if there else _dearer(ladder, first.target, rules)
        if (name, *above) != ladder:
            found[task] = (name, *above)
    return found, unsaid


def _dearer(ladder: Ladder, target: str, rules: Rules) -> tuple[str, ...]:
    least = FirstRung(target).usd(rules) or 0.0
    return tuple(name for name in ladder if (FirstRung(name).usd(rules) or 0.0) > least)


def experiment_of(ladders: Mapping[str, Ladder], day: str, trial: Trial, rules: Rules) -> dict[str, Any]:
    """Return the document of one experiment with all these ladders. Raises: ConfigError if there is none."""
    if not ladders:
        raise ConfigError("--start", "must be left out: no ladder is proposed")
    first = {task: FirstRung.named(ladder[0]) for task, ladder in ladders.items()}
    climbed = {task: [first[task].target, *ladder[1:]] for task, ladder in ladders.items()}
    changes: dict[str, Any] = {"phases": {rules.phase: {"tasks": climbed}}}
    short = {task: {rung.target: {"tokens": rung.tokens}} for task, rung in first.items() if rung.tokens}
    if short:
        changes["tasks"] = {task: {"diet": {"answers": answers}} for task, answers in short.items()}
    return trial.of(name_of("table", day), list(ladders), changes)
