"""Questions that an adapter and its base are tried on, each with the answer that is right.

One JSON object a line: `messages`, of which the last one is the assistant's and right, and `task`. `rejected` may hold
an answer that a right one is preferred over, `tools` what the request had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.lab.data.examples import is_text, prompt_of, texts_of
from fleet.lab.data.similar import normal
from fleet.model.attempt import Answer, Usage
from fleet.model.errors import ConfigError
from fleet.model.job import ChatRequest

ROOM_TOKENS = 64
TOKENS_PER_WORD = 4
"""An answer may have four tokens for each word of the right one, and 64: what is longer does not come to an end."""

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a task, and the answer that is right; `rejected` is one that it is preferred over."""

    task: str
    messages: tuple[Message, ...]
    reference: Answer
    rejected: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def prompt(self) -> str:
        return prompt_of(self.messages)

    @property
    def digest(self) -> str:
        """The name of the prompt: case, punctuation and blanks make no difference."""
        return digest_of(self.prompt)

    @property
    def request(self) -> ChatRequest:
        """What a model is asked: for its likeliest answer, and not for a longer one than such a question has."""
        words = sum(len(text.split()) for text in texts_of(self.reference.message))
        tools = {"tools": list(self.tools)} if self.tools else {}
        limit = ROOM_TOKENS + TOKENS_PER_WORD * words
        return {"messages": list(self.messages), "temperature": 0, "max_tokens": limit, **tools}


def digest_of(prompt: str) -> str:
    return hashlib.sha256(normal(prompt).encode()).hexdigest()


def reference_of(message: Message) -> Answer:
    return Answer(message, "stop", Usage(), "reference")


def read_questions(path: Path, task: str | None = None) -> list[Question]:
    """Read a file of questions; `task` is that of lines that name none.

    Raises: ConfigError that names the file, the line and the rule; OSError.
    """
    return list(_questions(path, task))


def _questions(path: Path, task: str | None) -> Iterator[Question]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            yield _question(f"{path}, line {number}", line, task)


def _question(where: str, line: bytes, task: str | None) -> Question:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigError(where, "must be a JSON object") from None
    if not isinstance(row, dict):
        raise ConfigError(where, "must be a JSON object")
    messages, named, rejected = row.get("messages"), row.get("task", task), row.get("rejected")
    if not isinstance(messages, list) or len(messages) < 2 or not all(_is_message(each) for each in messages):
        raise ConfigError(f"{where}, messages", "must be a list of messages of text, a question and its answer")
    if messages[-1]["role"] != "assistant":
        raise ConfigError(f"{where}, messages", "must end with the answer that is right, a message of the assistant")
    if not isinstance(named, str) or not named:
        raise ConfigError(f"{where}, task", "must name the task of the question")
    if rejected is not None and not isinstance(rejected, str):
        raise ConfigError(f"{where}, rejected", "must be the text of an answer")
    *asked, answer = messages
    plain = tuple({key: value for key, value in each.items() if key != "weight"} for each in asked)
    return Question(named, plain, reference_of(answer), rejected, tuple(row.get("tools") or ()))


def _is_message(message: Any) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str) and is_text(message)


def texts_trained_on(lines: Sequence[bytes]) -> list[tuple[str, str]]:
    """Return the prompt and all text of each line of a training file, SFT's or preferences'.

    Raises: ConfigError that names the line.
    """
    return [_trained(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _trained(number: int, line: bytes) -> tuple[str, str]:
    try:
        row = json.loads(line)
        asked = row.get("messages") or row.get("prompt") or row["input"]["messages"]
        learnt = [*row.get("chosen", ()), *row.get("preferred_output", ())]
        rejected = [*row.get("rejected", ()), *row.get("non_preferred_output", ())]
        messages = [*asked, *learnt, *rejected]
        prompt = prompt_of(asked[:-1] if asked[-1]["role"] == "assistant" else asked)
        return prompt, "\n".join(text for each in messages for text in texts_of(each))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ConfigError(f"training data, line {number}", "must be a line as `fleet data export` writes it") from None
