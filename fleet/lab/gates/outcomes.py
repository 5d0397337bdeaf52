"""The answers of a base and of its adapter to one question, and what they are worth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import SequenceMatcher

from fleet.lab.data.similar import words_of
from fleet.lab.gates.facts import keeps_facts
from fleet.lab.gates.questions import Question
from fleet.model.attempt import Answer, Outcome
from policies.confidence.gates import Gate, first_failed
from policies.features.agreement import agree

CHECKS = (Gate.EMPTY, Gate.JSON, Gate.SCRIPT)
"""What makes an answer unusable, beside a refusal and one that does not come to an end."""


@dataclass(frozen=True, slots=True)
class Tried:
    """An answer to a question: whether it is right, usable in form, and no refusal. None: the model gave none."""

    answer: Answer | None
    is_right: bool
    is_usable: bool
    is_refusal: bool = False

    @property
    def text(self) -> str:
        return "" if self.answer is None else self.answer.text


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answers of the base and of the adapter."""

    question: Question
    base: Tried
    adapter: Tried

    @property
    def preference(self) -> int:
        """1 if the adapter's answer is nearer to the preferred text than the base's, -1 if farther, 0 if alike."""
        mine, theirs = (_nearness(each.text, self.question) for each in (self.adapter, self.base))
        return (mine > theirs) - (mine < theirs)

    def keeps_facts(self, tried: Tried) -> bool:
        return keeps_facts(self.question.reference.text, tried.text, self.question.prompt)


def paired(question: Question, base: Outcome, adapter: Outcome) -> Pair:
    """Judge both answers to a question by its reference."""
    return Pair(question, tried(question, base), tried(question, adapter))


def tried(question: Question, outcome: Outcome) -> Tried:
    """Judge an answer: closed ones by what they say, long ones by their facts, which words can tell."""
    if not isinstance(outcome, Answer):
        return Tried(None, is_right=False, is_usable=False)
    asked = question.request
    usable = outcome.finish_reason != "length" and first_failed(outcome, asked, CHECKS) is None
    usable = usable and (not _is_json(question.reference.text) or _is_json(outcome.text))
    refused = first_failed(outcome, asked, (Gate.REFUSAL,)) is not None
    return Tried(outcome, usable and is_right(question, outcome), usable, refused)


def is_right(question: Question, answer: Answer) -> bool:
    """Return whether an answer says what the reference says."""
    same = agree(question.reference, answer)
    return keeps_facts(question.reference.text, answer.text, question.prompt) if same is None else same


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _nearness(text: str, question: Question) -> float:
    """Return how much more alike a text is to the preferred answer than to the rejected one, word by word."""
    preferred = _alike(text, question.reference.text)
    return preferred if question.rejected is None else preferred - _alike(text, question.rejected)


def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, words_of(one), words_of(other), autojunk=False).ratio()
