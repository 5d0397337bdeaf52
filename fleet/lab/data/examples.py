"""Examples: what a model may learn from a job, by what became of its answers and what was said of them.

| what happened | an example of | preferred over |
|---|---|---|
| a user called the answer good | the answer | a weaker target's, if it differs |
| a user edited it | the edited answer | the answer |
| a user asked for a better one, and got it | the better one | the first one |
| a stronger target replaced it, and nobody complained | the stronger one's | the weaker one's, if it differs |
| a comparison says the same | the stronger one's: easy, so few are taken | |
| a comparison says something else | | the stronger one's over the delivered one |

An answer that was called bad is one to evaluate with, and nothing to learn. One of which nobody said anything is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Message = Mapping[str, Any]
"""A message of OpenAI's chat format."""


class Origin(StrEnum):
    """What makes an answer worth learning; the first are the surest."""

    EDITED = "edited"
    GOOD = "good"
    BETTER = "better"
    ESCALATED = "escalated"
    COMPARED = "compared"
    AGREED = "agreed"
    BAD = "bad"

    @property
    def is_learnt(self) -> bool:
        """Whether it says that its answer is good: a comparison says only which one is better."""
        return self not in (Origin.COMPARED, Origin.BAD)


class Unusable(StrEnum):
    """The reason why a content is no example."""

    TENANT = "its tenant is not among those that agreed"
    SEALED = "it does not open with this key"
    FOR_CALIBRATION = "its job is one that calibrations learn from"
    TASK = "the rules do not collect its task (any more)"
    NO_PROVENANCE = "an earlier version collected it, without who answered"
    NO_MODEL = "no model answered: it was written down, or given before"
    NOT_SUCCEEDED = "its answer was the best there was, and not trusted"
    FAILED_CHECKS = "its answer failed the checks, such as a refusal or half an answer"
    NOT_TEXT = "it has images, audio or files"
    NO_BETTER = "a better answer was wanted, and none was collected"
    NO_TEXT = "its edit has no text"
    GRADED = "only a grader called it good, which may be the model that answered"
    NOBODY = "nobody said whether it is good"


@dataclass(frozen=True, slots=True)
class Teacher:
    """Whose answer it is: training on it is under the terms of this provider and model."""

    target: str
    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Source:
    """A job that something of an example was said in, and whom it was about: who erases it erases the example."""

    tenant: str
    job_id: str
    at: float
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """An answer to learn, and the answer that it is preferred over, if there is one.

    An edited answer has the teacher whose answer was edited. `confidence` is the calibrated probability that the answer
    of which something was said is good, None where there is none; `said_good` is what was said of it. The first of its
    `sources` is the job whose answer is learnt. `doubted` are the weaker targets whose answers were not trusted, in the
    order in which they were asked.
    """

    task: str
    sources: tuple[Source, ...]
    origin: Origin
    messages: tuple[Message, ...]
    answer: Message
    teacher: Teacher
    rejected: Message | None = None
    rejected_teacher: Teacher | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    parallel_tool_calls: bool | None = None
    confidence: float | None = None
    said_good: bool = True
    doubted: tuple[str, ...] = ()

    @property
    def source(self) -> Source:
        return self.sources[0]

    @property
    def texts(self) -> list[str]:
        """Every text in it: what was asked, what is learnt and what is not."""
        rejected = () if self.rejected is None else (self.rejected,)
        return [text for each in (*self.messages, self.answer, *rejected) for text in texts_of(each)]

    @property
    def prompt(self) -> str:
        """The text of what was asked, without the instructions that all jobs of a task share."""
        return prompt_of(self.messages)


def prompt_of(messages: Sequence[Message]) -> str:
    """Return the text of messages without the system's, or with it where there is nothing else."""
    asked = [each for each in messages if each.get("role") not in ("system", "developer")]
    return "\n".join(text for each in asked or messages for text in texts_of(each))


def texts_of(message: Message) -> list[str]:
    """Return the texts of a message: its content, and the arguments of its calls."""
    calls = message.get("tool_calls") or ()
    said = [(call.get("function") or {}).get("arguments") for call in calls if isinstance(call, Mapping)]
    return texts_in(message) + [text for text in said if isinstance(text, str)]


def texts_in(message: Message) -> list[str]:
    """Return the parts of a message's content that are text."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return [text for text in texts if isinstance(text, str)]


def is_text(message: Message) -> bool:
    """Return whether the message is nothing but text and calls of tools."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return True
    return all(isinstance(part, Mapping) and part.get("type") == "text" for part in content)
