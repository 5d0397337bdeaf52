"""Training examples: chats as JSON lines, the format of OpenAI's fine-tuning and of TRL, as tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from jinja2 import TemplateError

from deployments.adapters.strict import strict_json
from fleet.model.errors import ConfigError

FEWEST: Final = 10
IGNORED: Final = -100
"""The target of a token that is not to be learned."""

MOST_LINE_BYTES: Final = 8 * 1024**2
"""Maximum bytes of a line: ten times what the longest context takes."""

MOST_MESSAGES: Final = 1_000

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Chat:
    """The messages of a line, and the tools that were offered, which the model's template shows it."""

    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] | None


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
    for line, chat in _chats(path):
        example = _example(f"{path}, line {line}", chat, tokenizer)
        if len(example.tokens) > most_tokens:
            too_long += 1
        else:
            found.append(example)
    if len(found) < FEWEST:
        left = f" ({too_long} are longer than {most_tokens} tokens)" if too_long else ""
        raise ConfigError(str(path), f"must hold at least {FEWEST} examples to learn from, not {len(found)}{left}")
    with path.open("rb") as file:
        return Examples(found, hashlib.file_digest(file, "sha256").hexdigest(), too_long)


def _chats(path: Path) -> Iterator[tuple[int, Chat]]:
    with path.open("rb") as file:
        for number in count(1):
            if not (line := file.readline(MOST_LINE_BYTES + 1)):
                return
            where = f"{path}, line {number}"
            if len(line) > MOST_LINE_BYTES:
                raise ConfigError(where, f"must have at most {MOST_LINE_BYTES:,} bytes")
            yield number, _chat(where, strict_json(line, where, "a JSON object"))


def _chat(where: str, row: dict[str, Any]) -> Chat:
    messages, tools = row.get("messages"), row.get("tools")
    if not isinstance(messages, list) or not messages:
        raise ConfigError(where, "must have a list `messages`")
    if len(messages) > MOST_MESSAGES:
        raise ConfigError(f"{where}, messages", f"must be at most {MOST_MESSAGES:,}, not {len(messages):,}")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(each, dict) for each in tools)):
        raise ConfigError(f"{where}, tools", "must be a list of objects")
    for index, message in enumerate(messages):
        for field, rule in _violations(message):
            raise ConfigError(f"{where}, messages[{index}]{field}", rule)
    if messages[-1]["role"] != "assistant":
        raise ConfigError(where, "must end with a message of the assistant: that is what is learned")
    if not any(each["role"] == "assistant" and each.get("weight", 1) for each in messages):
        raise ConfigError(f"{where}, messages", "must have an answer to learn, and all have the weight 0")
    return Chat(messages, tools or None)


def _violations(message: Any) -> Iterator[tuple[str, str]]:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str):
        yield ".content", "must be text"
    elif not content.strip():
        yield ".content", "must not be empty"
    elif not _is_whole(content):
        yield ".content", "must be text, and has half of a character (a lone surrogate)"
    elif message.get("role") not in ("system", "user", "assistant"):
        yield ".role", "must be system, user or assistant"
    elif type(message.get("weight", 1)) is not int or message.get("weight", 1) not in (0, 1):
        yield ".weight", "must be 0 or 1"


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _example(where: str, chat: Chat, tokenizer: Any) -> Example:
    """Return the chat as tokens; each answer of the assistant is learned unless its `weight` is 0."""
    tokens: list[int] = []
    targets: list[int] = []
    for index, message in enumerate(chat.messages):
        if message["role"] != "assistant":
            continue
        asked = _tokens(where, tokenizer, chat, index, ask=True)
        answered = _tokens(where, tokenizer, chat, index + 1, ask=False)
        if asked[: len(tokens)] != tokens or answered[: len(asked)] != asked:
            raise ConfigError(where, "cannot be learned: the model's chat template rewrites what was said before")
        answer = answered[len(asked) :]
        targets += [IGNORED] * (len(asked) - len(tokens))
        targets += answer if message.get("weight", 1) else [IGNORED] * len(answer)
        tokens = answered
    return Example(tokens, targets)


def _tokens(where: str, tokenizer: Any, chat: Chat, until: int, ask: bool) -> list[int]:
    plain = [{"role": each["role"], "content": each["content"]} for each in chat.messages[:until]]
    form = {"add_generation_prompt": ask, "tokenize": True, "return_dict": False}
    try:
        return list(tokenizer.apply_chat_template(plain, tools=chat.tools, **form))
    except TemplateError as error:
        raise ConfigError(where, f"cannot be learned: the model's chat template refuses it ({error})") from None
