"""Pattern answers: messages that an operator has answered once for all, word for word, such as a greeting.

A message gets one only if it is, apart from case, punctuation and emoji, one of the forms that the operator wrote down,
and if it is all there is to the request: one more word, an earlier turn or a tool, and a model reads it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from fleet.model.action import Reply
from fleet.model.attempt import Answer, Usage
from fleet.model.job import ChatRequest, Job
from fleet.model.reason import Reason
from fleet.model.target import PATTERN
from policies.features.needs import needs_of
from policies.rules.sections import STRICT, Estimates, Strict

INDIFFERENT: Final = frozenset(
    {"model", "messages", "temperature", "top_p", "seed", "stream", "stream_options", "user", "metadata", "store"}
)
"""Fields of a request that change nothing about an answer that is written down. Any other one asks for a model."""

READ_FIRST: Final = 24
"""Characters of a message that are compared before the rest is read."""

_DAY: Final = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")

LENGTHS: Final = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Pattern:
    """An answer, and the messages it answers."""

    asked: tuple[str, ...]
    answer: str

    __pydantic_config__: ClassVar[Strict] = STRICT


@dataclass(frozen=True, slots=True)
class PatternList:
    """Patterns in one language, for jobs of the `tasks` named; somebody read them last on `checked`, as YYYY-MM-DD."""

    language: str
    checked: str
    tasks: frozenset[str]
    patterns: tuple[Pattern, ...]
    answers: Mapping[str, str] = field(init=False, repr=False, compare=False)
    """The answer to each normal form."""
    beginnings: frozenset[str] = field(init=False, repr=False, compare=False)
    """The first words of each normal form: one, two and so on."""

    __pydantic_config__: ClassVar[Strict] = STRICT

    def __post_init__(self) -> None:
        answers = {normal_form(asked): each.answer for each in self.patterns for asked in each.asked}
        object.__setattr__(self, "answers", answers)
        words = [form.split() for form in answers]
        beginnings = frozenset(" ".join(each[:count]) for each in words for count in range(1, len(each) + 1))
        object.__setattr__(self, "beginnings", beginnings)


@dataclass(frozen=True, slots=True)
class PatternRules:
    """Lists of patterns by name. A tenant has those that `default` names, or its own under `tenants` in their place.

    A list that was checked more than `check_days` ago is due: it goes on answering, and operators are told.
    """

    lists: Mapping[str, PatternList] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    tenants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    check_days: int = 7

    __pydantic_config__: ClassVar[Strict] = STRICT

    def of(self, tenant: str) -> tuple[str, ...]:
        return self.tenants.get(tenant, self.default)

    def due(self, last_day: str) -> list[str]:
        """Return the names of the lists that were checked before that day, as YYYY-MM-DD."""
        return [name for name, each in self.lists.items() if each.checked < last_day]


def answer_to(job: Job, rules: PatternRules) -> str | None:
    """Return the answer that is written down for the job, or None for most."""
    if job.above is not None or not (lists := _lists(job.tenant, job.task, rules)):
        return None
    asked = only_message(job.request)
    answer = None if asked is None else _answer_in(lists, asked)
    return answer if answer is not None and _has_room(job.request, answer) else None


def written_for(tenant: str, task: str, message: str, rules: PatternRules) -> str | None:
    """Return the answer of the tenant's first list that has one to such a message."""
    return _answer_in(_lists(tenant, task, rules), message)


def _lists(tenant: str, task: str, rules: PatternRules) -> Sequence[PatternList]:
    names = rules.of(tenant)
    return [each for name in names if task in (each := rules.lists[name]).tasks] if names else ()


def _answer_in(lists: Sequence[PatternList], message: str) -> str | None:
    if not _begins_like_one(message, lists):
        return None
    form = normal_form(message)
    return next((answer for each in lists if (answer := each.answers.get(form)) is not None), None)


def _begins_like_one(message: str, lists: Sequence[PatternList]) -> bool:
    """Return whether a message may be a pattern, by its beginning: most are long, and reading them whole takes time."""
    if len(message) <= READ_FIRST:
        return True
    begun, _, _ = normal_form(message[:READ_FIRST]).rpartition(" ")  # the last word may be cut
    return not begun or any(begun in each.beginnings for each in lists)


def reply(request: ChatRequest, text: str, estimates: Estimates) -> Reply:
    """Return a text that is written down as the answer: no tokens are read or written, and these would have been."""
    answer = Answer({"role": "assistant", "content": text}, "stop", Usage(), PATTERN)
    output_tokens = math.ceil(len(text) / estimates.characters_per_token)
    avoided = Usage(needs_of(request, estimates).input_tokens, output_tokens)
    return Reply(PATTERN, answer, Reason.PATTERN, avoided=avoided)


def only_message(request: Mapping[str, Any]) -> str | None:
    """Return the text of a request that is one message of a user and nothing else; None for any other.

    Instructions before it do not count: whoever lists a task for its patterns knows what its jobs are told.
    """
    if not _is_plain(request):
        return None
    messages = request["messages"]
    last = messages[-1]
    if last.get("role") != "user":
        return None
    for each in messages[:-1]:
        if each.get("role") not in ("system", "developer"):
            return None
    return _text(last.get("content"))


def _is_plain(request: Mapping[str, Any]) -> bool:
    return INDIFFERENT.issuperset(request) or all(
        name in INDIFFERENT or value is None or _is_default(name, value) for name, value in request.items()
    )


def _is_default(name: str, value: Any) -> bool:
    return name in LENGTHS or (name == "n" and value == 1) or (name == "response_format" and value == {"type": "text"})


def _has_room(request: Mapping[str, Any], answer: str) -> bool:
    """Return whether the answer fits the output that is asked for, however it is cut into tokens."""
    return all(request.get(name) is None or request[name] >= len(answer.encode()) for name in LENGTHS)


def _text(content: Any) -> str | None:
    if isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text":
        content = content[0].get("text")
    return content if isinstance(content, str) else None


def normal_form(text: str) -> str:
    """Return the words of a text, in lower case and one form of Unicode, with one space between.

    Signs and symbols go, emoji among them; letters, digits and the marks upon letters stay.
    """
    folded = text.lower() if text.isascii() else _folded(text)
    return " ".join(folded.translate(_WORDS).split())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


_JOINERS: Final = frozenset("'\u2019\u2018\u200d\ufe0e\ufe0f")
"""Signs within a word, such as that of "what's", and those that shape an emoji: they go without leaving a space."""


class _Words(dict[int, str]):
    """What becomes of each character, by its code; that of the first 1,024, of which most texts are, is remembered."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        is_word = unicodedata.category(character)[0] in "LNM"
        found = "" if character in _JOINERS else character if is_word else " "
        if code < 1024:
            self[code] = found
        return found


_WORDS: Final = _Words()


def violations(rules: PatternRules, tasks: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the path and the broken rule of everything wrong with the lists."""
    if rules.check_days <= 0:
        yield "check_days", "must be more than zero"
    named = {"default": rules.default, **{f"tenants.{tenant}": names for tenant, names in rules.tenants.items()}}
    for path, names in named.items():
        for name in names:
            if name not in rules.lists:
                yield path, f"{name!r} is none of the lists: {', '.join(rules.lists) or 'there is none'}"
    for name, each in rules.lists.items():
        yield from _of_list(f"lists.{name}", each, tasks)


def _of_list(path: str, found: PatternList, tasks: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    if not _DAY.fullmatch(found.checked):
        yield f"{path}.checked", "must be a day as YYYY-MM-DD"
    if not _LANGUAGE.fullmatch(found.language):
        yield f"{path}.language", "must be the tag of a language, such as en or pt-BR"
    for task in sorted(found.tasks):
        if task not in tasks:
            yield f"{path}.tasks", f"{task!r} is not among the tasks"
    if not found.tasks:
        yield f"{path}.tasks", "needs at least one task"
    known: dict[str, int] = {}
    for number, pattern in enumerate(found.patterns):
        if not pattern.answer.strip():
            yield f"{path}.patterns.{number}.answer", "must not be empty"
        for asked in pattern.asked:
            form = normal_form(asked)
            if not form:
                yield f"{path}.patterns.{number}.asked", f"{asked!r} has no word"
            elif known.setdefault(form, number) != number:
                yield f"{path}.patterns.{number}.asked", f"{asked!r} has an answer already, under {known[form]}"
