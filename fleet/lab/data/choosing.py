"""Chooses the examples among contents, one content after the other, oldest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.lab.data.examples import Example, Message, Origin, Source, Teacher, Unusable, is_text
from fleet.lab.learning.collected import JobKey, is_good
from fleet.model.attempt import Answer, Usage
from fleet.model.content import Content, GivenAnswer
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.target import WITHOUT_CALL
from policies.features.agreement import agree
from policies.rules.rules import Rules

Asked = tuple[str, str, str]
"""A tenant, a task and what was asked: by these the better answer to a job is found."""


class Chooser:
    """Says of each content what it is an example of, or why of nothing.

    `said` is all feedback by job. With `trust_graders` a grader's word counts as a user's: whoever says so knows that
    the grader is not the model that answered. Contents of tenants that did not agree must not come here.
    """

    def __init__(self, said: Mapping[JobKey, Sequence[Feedback]], rules: Rules, *, trust_graders: bool = False) -> None:
        self.for_calibration: list[Sequence[Message]] = []
        """What was asked in jobs that calibrations learn from: nothing like it may be trained on."""
        self._said = said
        self._rules = rules
        self._trust_graders = trust_graders
        self._outdone: dict[Asked, tuple[Content, GivenAnswer]] = {}

    def choose(self, content: Content) -> Example | Unusable:
        task = self._rules.tasks.get(content.task)
        if task is None or not task.collect:
            return Unusable.TASK
        said = self._said.get((content.tenant, content.job_id), ())
        if not self._rules.training.has(content.tenant, content.job_id):
            if said:
                self.for_calibration.append(_messages(content))
            return Unusable.FOR_CALIBRATION
        given = next((each for each in content.answers if each.delivered), None)
        if given is None or given.provider is None:
            return Unusable.NO_MODEL if content.target in WITHOUT_CALL else Unusable.NO_PROVENANCE
        return _barred(content, given) or self._judged(content, given, said)

    def _judged(self, content: Content, given: GivenAnswer, said: Sequence[Feedback]) -> Example | Unusable:
        of_answer = {each.source: each for each in said if each.target in (None, given.target)}
        user, grader = of_answer.get(Witness.USER), of_answer.get(Witness.JUDGE)
        outdone = self._outdone.pop(_asked(content), None)
        if user is not None and not is_good(user):
            return self._complained(content, given, user)
        if user is None and grader is not None and not is_good(grader):
            return _bad(content, given)
        if outdone is not None and outdone[1].target != given.target:
            return _better(content, given, *outdone)
        if user is not None:
            return _good(content, given)
        found = _escalated(content, given) or _compared(content, given)
        if found is not None:
            return found
        if grader is None:
            return Unusable.NOBODY
        return _good(content, given) if self._trust_graders else Unusable.GRADED

    def _complained(self, content: Content, given: GivenAnswer, user: Feedback) -> Example | Unusable:
        match user.verdict:
            case Verdict.BETTER:
                self._outdone[_asked(content)] = content, given
                return Unusable.NO_BETTER
            case Verdict.EDITED:
                return _edited(content, given, user.text) if user.text else Unusable.NO_TEXT
            case _:
                return _bad(content, given)


def _barred(content: Content, given: GivenAnswer) -> Unusable | None:
    if content.status != Status.SUCCEEDED and not _is_unjudged(content, given):
        return Unusable.NOT_SUCCEEDED
    if given.confidence == 0.0:  # the mark of an answer that no gate lets through
        return Unusable.FAILED_CHECKS
    if not all(map(is_text, (*_messages(content), content.message))):
        return Unusable.NOT_TEXT
    return None


def _is_unjudged(content: Content, given: GivenAnswer) -> bool:
    """Return whether a stronger target's answer was a best effort only because no calibration could judge it.

    So every answer that escalates ends where the rules promise something and the last target has no calibration of its
    own. Comparisons take such answers for right as well.
    """
    judged = given.calibration is not None or given.threshold is not None or given.confidence is None
    return content.status == Status.BEST_EFFORT and not judged and bool(_weaker(content))


def _example(content: Content, given: GivenAnswer, origin: Origin, judged: GivenAnswer | None = None) -> Example:
    request, judged = content.request, judged or given
    return Example(
        content.task,
        (_source(content),),
        origin,
        _messages(content),
        _answer_in(content, given),
        _teacher(given),
        tools=tuple(request.get("tools") or ()),
        parallel_tool_calls=request.get("parallel_tool_calls"),
        confidence=None if judged.calibration is None else judged.confidence,
    )


def _over(example: Example, rejected: Message, whose: GivenAnswer) -> Example:
    return replace(example, rejected=rejected, rejected_teacher=_teacher(whose))


def _good(content: Content, given: GivenAnswer) -> Example:
    found = _example(content, given, Origin.GOOD)
    weaker = _weaker(content)
    return _other_over(found, content, given, weaker[-1]) if weaker else found


def _bad(content: Content, given: GivenAnswer) -> Example:
    return replace(_example(content, given, Origin.BAD), said_good=False)


def _edited(content: Content, given: GivenAnswer, text: str) -> Example:
    found = replace(_example(content, given, Origin.EDITED), answer={"role": "assistant", "content": text})
    return replace(_over(found, content.message, given), said_good=False)


def _better(content: Content, given: GivenAnswer, lower: Content, whose: GivenAnswer) -> Example:
    found = _over(_example(content, given, Origin.BETTER, whose), lower.message, whose)
    return replace(found, said_good=False, sources=(*found.sources, _source(lower)))


def _escalated(content: Content, given: GivenAnswer) -> Example | None:
    """Return what the weaker target may learn, where its answer was not trusted and a stronger one's was."""
    weaker = _weaker(content)
    if not weaker:
        return None
    same = _same(content, given, weaker[-1])
    doubted = tuple(dict.fromkeys(each.target for each in weaker))
    origin = Origin.AGREED if same else Origin.ESCALATED
    found = replace(_example(content, given, origin), confidence=None, doubted=doubted)
    return found if same else _other_over(found, content, given, weaker[-1])


def _compared(content: Content, given: GivenAnswer) -> Example | None:
    """Return what a comparison of the delivered answer with a stronger target's says, if words can tell."""
    strong = next((each for each in content.answers if each.reason is Reason.SHADOW and each.message), None)
    if strong is None or (same := _same(content, given, strong)) is None:
        return None
    if same:
        return _example(content, strong, Origin.AGREED, given)
    found = _over(_example(content, strong, Origin.COMPARED, given), content.message, given)
    return replace(found, said_good=False)


def _other_over(found: Example, content: Content, given: GivenAnswer, other: GivenAnswer) -> Example:
    """Return the example preferred over another's answer, if that surely says something else."""
    return _over(found, other.message or {}, other) if _same(content, given, other) is False else found


def _weaker(content: Content) -> list[GivenAnswer]:
    """Return the answers that came before the delivered one, of other targets: it climbed over them."""
    before = content.answers[: [each.delivered for each in content.answers].index(True)]
    return [each for each in before if each.message and each.target != content.target]


def _same(content: Content, one: GivenAnswer, other: GivenAnswer) -> bool | None:
    return agree(*(Answer(_answer_in(content, each), "stop", Usage(), each.model) for each in (one, other)))


def _answer_in(content: Content, given: GivenAnswer) -> Message:
    return content.message if given.message is None else given.message


def _source(content: Content) -> Source:
    return Source(content.tenant, content.job_id, content.at, content.person)


def _teacher(given: GivenAnswer) -> Teacher:
    return Teacher(given.target, given.provider or "unknown", given.model)


def _messages(content: Content) -> tuple[Message, ...]:
    messages: Iterable[Message] = content.request.get("messages") or ()
    return tuple(messages)


def _asked(content: Content) -> Asked:
    return content.tenant, content.task, repr(_messages(content))
