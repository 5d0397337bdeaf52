"""Training examples: chats as JSON lines, the format of OpenAI's fine-tuning and of TRL, as tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.model.errors import ConfigError

FEWEST: Final = 10
IGNORED: Final = -100
"""The target of a token that is not to be learned."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A chat as tokens; `targets` has each token that the assistant said, and IGNORED for the others."""

    tokens: Sequence[int]
    targets: Sequence[int]


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of a file, which is known by its digest; `too_long` ones do not fit the model and are left out."""

    all: Sequence[Example]
    digest: str
    too_long: int


def read_examples(path: Path, tokenizer: Any, most_tokens: int) -> Examples:
    """Read a file of chats.

    Raises: ConfigError that names file, line and rule, or says that too few are left; OSError if it cannot be read.
    """
    found, too_long = [], 0
    for line, messages in _chats(path):
        example = _example(f"{path}, line {line}", messages, tokenizer)
        if len(example.tokens) > most_tokens:
            too_long += 1
        else:
            found.append(example)
    if len(found) < FEWEST:
        left = f" ({too_long} are longer than {most_tokens} tokens)" if too_long else ""
        raise ConfigError(str(path), f"must hold at least {FEWEST} examples to learn from, not {len(found)}{left}")
    with path.open("rb") as file:
        return Examples(found, hashlib.file_digest(file, "sha256").hexdigest(), too_long)


def _chats(path: Path) -> Iterator[tuple[int, Sequence[Message]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError:
                raise ConfigError(where, "must be a JSON object") from None
            messages = row.get("messages") if isinstance(row, dict) else None
            if not isinstance(messages, list) or not messages:
                raise ConfigError(where, "must have a list `messages`")
            for index, message in enumerate(messages):
                if not isinstance(message, dict) or not isinstance(message.get("content"), str):
                    raise ConfigError(f"{where}, messages[{index}].content", "must be text")
                if message.get("role") not in ("system", "user", "assistant"):
                    raise ConfigError(f"{where}, messages[{index}].role", "must be system, user or assistant")
            if messages[-1]["role"] != "assistant":
                raise ConfigError(where, "must end with a message of the assistant: that is what is learned")
            yield number, messages


def _example(where: str, messages: Sequence[Message], tokenizer: Any) -> Example:
    """Return the chat as tokens; each answer of the assistant is learned unless its `weight` is 0."""
    tokens: list[int] = []
    targets: list[int] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = _tokens(tokenizer, messages[:index], ask=True)
        answered = _tokens(tokenizer, messages[: index + 1], ask=False)
        if asked[: len(tokens)] != tokens or answered[: len(asked)] != asked:
            raise ConfigError(where, "cannot be learned: the model's chat template rewrites what was said before")
        answer = answered[len(asked) :]
        targets += [IGNORED] * (len(asked) - len(tokens))
        targets += answer if message.get("weight", 1) else [IGNORED] * len(answer)
        tokens = answered
    return Example(tokens, targets)


def _tokens(tokenizer: Any, messages: Sequence[Message], ask: bool) -> list[int]:
    plain = [{"role": each["role"], "content": each["content"]} for each in messages]
    return list(tokenizer.apply_chat_template(plain, add_generation_prompt=ask, tokenize=True, return_dict=False))
