"""Lines of training data that are no chats: refused by file, line, field and rule before a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.adapters import examples
from deployments.adapters.base import Base
from deployments.adapters.recipe import Recipe
from deployments.adapters.train import train
from fleet.model.errors import ConfigError

ASKED = {"role": "user", "content": "Which?"}


class Template:
    """Stands in for a tokenizer: one token a message, and notes the tools it was shown."""

    def __init__(self) -> None:
        self.tools: list[Any] = []

    def apply_chat_template(self, messages: list[Any], tools: Any, add_generation_prompt: bool, **_: Any) -> list[int]:
        self.tools.append(tools)
        return [*range(len(messages)), *([len(messages)] if add_generation_prompt else [])]


def refusal(path: Path, line: bytes) -> str:
    path.write_bytes(line + b"\n")
    with pytest.raises(ConfigError) as refused:
        examples.read_examples(path, Template(), 512)
    return str(refused.value)


def chat(*messages: Any, **more: Any) -> bytes:
    return json.dumps({"messages": messages, **more}).encode()


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"{", "line 1: must be a JSON object"),
        (b"[]", "line 1: must be a JSON object"),
        (b"[" * 100_000, "line 1: must be a JSON object (it is nested too deeply)"),
        (b'{"prompt": "x"}', "line 1: must have a list `messages`"),
        (b'{"messages": [], "messages": []}', "the key 'messages' comes twice"),
        (b'{"messages": NaN}', "NaN is no number of JSON"),
        (b'{"messages": "\xff\xfe"}', "line 1: must be a JSON object ('utf-8' codec can't decode byte 0xff"),
        (chat(ASKED), "must end with a message of the assistant"),
        (chat({"role": "critic", "content": "x"}), "messages[0].role: must be system, user or assistant"),
        (chat({"role": ["user"], "content": "x"}), "messages[0].role: must be system, user or assistant"),
        (chat({"role": "assistant", "content": None}), "messages[0].content: must be text"),
        (chat("hi"), "messages[0].content: must be text"),
        (chat(ASKED, {"role": "assistant", "content": " \n"}), "messages[1].content: must not be empty"),
        (chat(ASKED, {"role": "assistant", "content": "\ud800"}), "messages[1].content: must be text, and has half"),
        (chat({**ASKED, "weight": "0"}), "messages[0].weight: must be 0 or 1"),
        (chat({**ASKED, "weight": 0.5}), "messages[0].weight: must be 0 or 1"),
        (chat(ASKED, {"role": "assistant", "content": "x", "weight": 0}), "messages: must have an answer to learn"),
        (chat(*[ASKED] * 1_001), "line 1, messages: must be at most 1,000, not 1,001"),
        (chat(ASKED, tools={"type": "function"}), "line 1, tools: must be a list of objects"),
    ],
)
def test_a_line_that_is_no_chat_is_refused_by_line_and_rule(tmp_path: Path, line: bytes, rule: str) -> None:
    assert rule in refusal(tmp_path / "chats.jsonl", line)


def test_a_line_without_an_end_is_read_no_further_than_a_line_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    with path.open("wb") as file:
        file.truncate(50 * 1024**2)  # a hole, which takes no place
    with pytest.raises(ConfigError, match="line 1: must have at most 8,388,608 bytes"):
        examples.read_examples(path, Template(), 512)


def test_the_template_is_shown_the_tools_that_were_offered(tmp_path: Path) -> None:
    path, template, tool = tmp_path / "chats.jsonl", Template(), {"type": "function", "function": {"name": "look"}}
    line = chat(ASKED, {"role": "assistant", "content": "This."}, tools=[tool])
    path.write_bytes((line + b"\n") * examples.FEWEST)
    assert len(examples.read_examples(path, template, 512).all) == examples.FEWEST
    assert template.tools == [[tool]] * 2 * examples.FEWEST


def test_bad_data_leaves_no_folder(base: Base, tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "chats.jsonl").write_bytes(chat(ASKED) + b"\n")
    with pytest.raises(ConfigError):
        train(base, tmp_path / "chats.jsonl", tmp_path / "adapter", recipe, "plan.schedule")
    assert not (tmp_path / "adapter").exists()
