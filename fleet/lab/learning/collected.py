"""Labels from the ledger and the feedback: the answers that were good, as far as anybody said.

The ledger has the engine's features of every answer, the feedback somebody's opinion of it; they are joined by the
job's id and tenant. Feedback is small beside the ledger, so it is held in memory and the ledger is streamed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.model.attempt import Answer, Attempt, Features
from fleet.model.calibration import OutputKind
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import ChatRequest
from fleet.model.reason import Reason
from fleet.model.redraw import is_redraw
from fleet.model.result import LedgerEntry
from fleet.ports import Journal
from policies.confidence.signals import Evidence
from policies.training import TrainingRules

JobKey = tuple[str, str]
"""A tenant and a job id: two tenants may use the same id."""


Ran = tuple[str, str | None]
"""A target, and the digest of the adapter that it answered with."""


class Unused(StrEnum):
    """The reason why feedback made no label."""

    NO_LEDGER_ENTRY = "the ledger has no such job (any more)"
    NO_SUCH_ANSWER = "the job has no answer of that target"
    NO_FEATURES = "the answer came without log-probabilities"
    SHORT = "the answer had to be short (rules: diet)"
    OTHER_MODEL = "the target has run another model since"
    UNDECIDED = "a comparison with an answer that was not good says nothing"
    REDRAW = "the question was asked again to see what is chance"
    FOR_TRAINING = "the job is one that models are trained on (rules: training)"


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """A judged answer. `job` identifies it; `strong` is the target it was compared with, if any.

    `propensity` is the probability with which a comparison was drawn; without one, `weight` counts as it is. `at` is
    when the last opinion of it was stored, in unix seconds; None where that is unknown. `request` is what was asked, if
    known: the ledger keeps no prompt. `adapter` is the digest of the adapter it was given with, empty without one.
    """

    target: str
    task: str
    kind: OutputKind
    job: str
    evidence: Evidence
    good: bool
    strong_good: bool | None = None
    strong: str | None = None
    propensity: float | None = None
    weight: float = 1.0
    at: float | None = field(default=None, compare=False)
    request: ChatRequest | None = field(default=None, compare=False, repr=False)
    adapter: str = ""


@dataclass(frozen=True, slots=True)
class CollectedLabels:
    """The labels found. `unused` counts feedback that made no label, by reason; `unreadable` such messages."""

    labels: tuple[LabelledAnswer, ...]
    unused: Mapping[Unused, int]
    unreadable: int = 0

    def for_calibration(self, rules: TrainingRules) -> CollectedLabels:
        """Return the labels without those of jobs that models are trained on, and of questions asked again."""
        own = [each for each in self.labels if not is_redraw(key_of(each.job)[1])]
        labels = tuple(each for each in own if not rules.has(*key_of(each.job)))
        left_out = {Unused.REDRAW: len(self.labels) - len(own), Unused.FOR_TRAINING: len(own) - len(labels)}
        unused = Counter(self.unused) + Counter(left_out)
        return CollectedLabels(labels, unused, self.unreadable)


def key_of(job: str) -> JobKey:
    """Return the tenant and the id of a label's job."""
    tenant, _, job_id = job.partition(".")
    return tenant, job_id


async def collect(journal: Journal) -> CollectedLabels:
    """Return every label the journal holds. Raises: QueueUnavailable."""
    said = await feedback_by_job(journal)
    done: defaultdict[JobKey, list[LedgerEntry]] = defaultdict(list)
    models: dict[Ran, str] = {}
    async for entry in journal.ledger():
        if entry.attempt is not None and isinstance(entry.attempt.outcome, Answer):
            models[entry.attempt.target, entry.attempt.adapter] = entry.attempt.outcome.model
        if (entry.tenant, entry.job_id) in said:
            done[entry.tenant, entry.job_id].append(entry)
    found = [each for key, feedback in said.items() for each in labels_of(feedback, done.get(key, ()), models)]
    labels = tuple(each for each in found if isinstance(each, LabelledAnswer))
    unused = Counter(each for each in found if isinstance(each, Unused))
    return CollectedLabels(labels, unused, journal.unreadable())


async def feedback_by_job(journal: Journal) -> Mapping[JobKey, Sequence[Feedback]]:
    """Return all feedback still kept, that of a job oldest first. Raises: QueueUnavailable."""
    said: defaultdict[JobKey, list[Feedback]] = defaultdict(list)
    async for feedback in journal.feedback():
        said[feedback.tenant, feedback.job_id].append(feedback)
    return said


def labels_of(
    said: Sequence[Feedback], entries: Sequence[LedgerEntry], models: Mapping[Ran, str]
) -> Iterator[LabelledAnswer | Unused]:
    """Yield a label, or why there is none, for each answer of one job that its feedback (oldest first) is about.

    `models` names the model that each target has run last, with each adapter and without: answers of another one say
    nothing about it.
    """
    case = _LedgerJob.of(entries)
    if case is None:
        yield Unused.NO_LEDGER_ENTRY
        return
    opinions = _opinions(said, case)
    for target in dict.fromkeys(target for target, _ in opinions):
        yield _label(target, opinions, case, models)


@dataclass(frozen=True, slots=True)
class _LedgerJob:
    """A job as the ledger has it: the answer of each target, and the one that was delivered."""

    job: str
    task: str
    answers: Mapping[str, Attempt]
    delivered: str
    shadow: str | None

    @staticmethod
    def of(entries: Sequence[LedgerEntry]) -> _LedgerJob | None:
        tried = sorted((e.attempt for e in entries if e.attempt is not None), key=lambda attempt: attempt.number)
        answered = [a for a in tried if isinstance(a.outcome, Answer) and a.probe is None]
        own = [attempt.target for attempt in answered if attempt.reason is not Reason.SHADOW]
        task = next((entry.task for entry in entries if entry.task is not None), None)
        if not own or task is None:
            return None
        shadow = next((attempt.target for attempt in answered if attempt.reason is Reason.SHADOW), None)
        job = f"{entries[0].tenant}.{entries[0].job_id}"
        return _LedgerJob(job, task, {attempt.target: attempt for attempt in answered}, own[-1], shadow)

    def stronger(self, target: str) -> str | None:
        """Return the target whose answer this one was compared with."""
        return self.shadow if target == self.delivered else self.delivered


Opinions = Mapping[tuple[str, Witness], Feedback]


def _opinions(said: Iterable[Feedback], case: _LedgerJob) -> Opinions:
    """Return the last opinion of each witness on each target's answer."""
    return {(feedback.target or case.delivered, feedback.source): feedback for feedback in said}


def _label(target: str, opinions: Opinions, case: _LedgerJob, models: Mapping[Ran, str]) -> LabelledAnswer | Unused:
    attempt = case.answers.get(target)
    if attempt is None or not isinstance(attempt.outcome, Answer):
        return Unused.NO_SUCH_ANSWER
    if models.get((target, attempt.adapter)) != attempt.outcome.model:
        return Unused.OTHER_MODEL
    if attempt.diet is not None and attempt.diet.has_budget:
        return Unused.SHORT
    features = attempt.outcome.features
    if features is None or attempt.judged is None or not _is_finite(features):
        return Unused.NO_FEATURES
    shadow = opinions.get((target, Witness.SHADOW))
    strong = None if shadow is None else case.stronger(target)
    agrees = None if shadow is None else shadow.verdict is Verdict.GOOD
    found = resolved(_direct(target, opinions), agrees, None if strong is None else _direct(strong, opinions))
    if found is None:
        return Unused.UNDECIDED
    good, strong_good = found
    return LabelledAnswer(
        target=target,
        task=case.task,
        kind=attempt.judged.kind,
        job=case.job,
        evidence=Evidence(features),
        good=good,
        strong_good=strong_good,
        strong=strong,
        propensity=None if shadow is None else shadow.propensity,
        at=max(said.at for (whose, _), said in opinions.items() if whose in (target, strong)),
        adapter=attempt.adapter or "",
    )


def _is_finite(features: Features) -> bool:
    """Return whether all features are numbers; others were written as null, and would cost all answers the signal."""
    f = features
    return all(map(math.isfinite, (f.sum, f.mean, f.min, f.q10, f.q25, f.count, f.margin, f.entropy)))


def _direct(target: str, opinions: Opinions) -> bool | None:
    """Return whether a user, or else a grader, found the answer itself good; None if neither spoke."""
    for witness in (Witness.USER, Witness.JUDGE):
        feedback = opinions.get((target, witness))
        if feedback is not None:
            return is_good(feedback)
    return None


def is_good(feedback: Feedback) -> bool:
    """Return whether feedback is praise; so is an edit known to change only whitespace, case and punctuation."""
    match feedback.verdict:
        case Verdict.GOOD:
            return True
        case Verdict.BAD | Verdict.BETTER:
            return False
        case Verdict.EDITED:
            return feedback.changed is False


def resolved(direct: bool | None, agrees: bool | None, strong_direct: bool | None) -> tuple[bool, bool | None] | None:
    """Return (good, strong_good) of an answer; None where the opinions decide nothing.

    A comparison takes the stronger answer for right unless somebody said otherwise; an opinion on the answer itself
    counts before any comparison.
    """
    if direct is not None:
        return direct, strong_direct if strong_direct is not None else direct if agrees else None
    if agrees:
        return (True, True) if strong_direct is None else (strong_direct, strong_direct)
    return None if strong_direct is False or agrees is None else (False, True)
