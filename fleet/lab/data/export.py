"""From chosen examples to what is written: the steps in their order, and a refusal where they leave too little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.lab.data import steps
from fleet.lab.data.examples import Example, Unusable
from fleet.lab.data.formats import FEWEST_LINES, DataFormat
from fleet.lab.data.licences import Licences
from fleet.lab.data.steps import Step, Worked
from fleet.model.errors import ConfigError, FleetError


@dataclass(frozen=True, slots=True)
class Wish:
    """The export that is wanted: in which format, to train which family of models.

    `validation` is the share of rows that are held out, `most` the maximum of rows of a task that are trained on, and
    `words` are the personal words that hold an example back. `trust_graders`: a grader's word counted as a user's.
    Nothing of the tasks `beside` is trained on: their rows show what a training does to them.
    """

    tasks: tuple[str, ...]
    form: DataFormat
    destination: str
    validation: float = 0.1
    most: int | None = None
    seed: int = 1
    words: frozenset[str] = frozenset()
    trust_graders: bool = False
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises: ConfigError."""
        if not 0.0 <= self.validation < 1.0:
            raise ConfigError("--validation", "must be at least 0 and less than 1")
        if not self.destination.isidentifier() or self.destination == "any":
            raise ConfigError("--destination", "must be one word, the family of the base model, such as llama")
        if both := sorted({*self.tasks} & {*self.beside}):
            raise ConfigError("--beside", f"{both[0]} is trained on")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows to train on, to validate and to evaluate with, what somebody should read, and what each step did.

    Those to evaluate with were called bad; those `beside` are of other tasks.
    """

    train: Sequence[Example]
    validation: Sequence[Example]
    evaluation: Sequence[Example]
    review: Sequence[tuple[str, Example]]
    steps: Sequence[Step]
    replaced: Mapping[str, int]
    beside: Sequence[Example] = ()

    @property
    def held_out(self) -> Sequence[Example]:
        """Every row with a good answer that nothing is trained on."""
        return [*self.validation, *self.beside]


class NothingToExport(FleetError):
    """The steps left fewer lines than anything can be learnt from; `steps` says where the others went."""

    def __init__(self, left: int, taken: Sequence[Step]) -> None:
        told = "; ".join(f"{step.name}: {_told(step)}" for step in taken if step.dropped) or "nothing is collected"
        super().__init__(f"{left} lines are left to train on, and {FEWEST_LINES} are the fewest. {told}")
        self.steps = taken


def _told(step: Step) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(step.dropped).most_common())


def prepare(
    examples: Sequence[Example],
    unusable: Mapping[Unusable, int],
    judging: Sequence[str],
    licences: Licences,
    wish: Wish,
) -> Prepared:
    """Take the examples through all steps. `judging` are the texts that nothing trained on may be like.

    The same examples in any order give the same rows. Raises: NothingToExport.
    """
    worked = Worked(sorted(examples, key=lambda each: (each.source.tenant, each.source.job_id)))
    given = len(examples) + sum(unusable.values())
    worked.steps.append(Step("eligibility", given, len(examples), {str(why): n for why, n in unusable.items() if n}))
    beside = Worked(steps.other_tasks(worked, wish.beside)) if wish.beside else Worked([])
    evaluation = Worked(steps.evaluating(worked))
    steps.fitting(worked, wish.form)
    steps.licensed(worked, licences, wish.destination, wish.form)
    replaced = steps.scrub(worked, wish.words)
    steps.distinct(worked)
    for aside in (evaluation, beside):
        steps.scrub(aside, wish.words)
        steps.distinct(aside)
    steps.decontaminate(worked, [*judging, *(each.prompt for each in (*evaluation.rows, *beside.rows))])
    steps.trusted(worked)
    steps.checked(worked, wish.form)
    validation = steps.split(worked, wish.validation, wish.seed)
    steps.balance(worked, wish.most)
    if len(worked.rows) < FEWEST_LINES:
        raise NothingToExport(len(worked.rows), worked.steps)
    review = [*worked.review, *evaluation.review, *beside.review]
    return Prepared(worked.rows, validation, evaluation.rows, review, worked.steps, replaced, beside.rows)
