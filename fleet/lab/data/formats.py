"""The files that trainers read: OpenAI's SFT and DPO lines, and TRL's preferences.

TRL reads OpenAI's SFT lines unchanged. The rules are those that OpenAI publishes for its uploads, and their names those
of its cookbook; a line that breaks one would have the whole file refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from fleet.lab.data.examples import Example, Message, texts_in

Line = dict[str, Any]

FEWEST_LINES = 10
"""Minimum of lines that OpenAI takes, and that anything is learnt from."""

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "weight", "refusal"})
_ASKED = frozenset({"messages", "tools", "parallel_tool_calls"})


class DataFormat(StrEnum):
    OPENAI_SFT = "openai-sft"
    OPENAI_DPO = "openai-dpo"
    TRL = "trl"

    @property
    def has_preferences(self) -> bool:
        return self is not DataFormat.OPENAI_SFT


def line_of(example: Example, form: DataFormat) -> Line:
    """Return the example as a line of this format."""
    asked, answer = [_plain(each) for each in example.messages], _plain(example.answer)
    match form:
        case DataFormat.OPENAI_SFT:
            return {"messages": [*map(_not_learnt, asked), answer], **_tools(example)}
        case DataFormat.OPENAI_DPO:
            rejected = [_plain(example.rejected or {})]
            return {
                "input": {"messages": asked, **_tools(example)},
                "preferred_output": [answer],
                "non_preferred_output": rejected,
            }
        case DataFormat.TRL:
            tools = {"tools": list(example.tools)} if example.tools else {}
            return {"prompt": asked, "chosen": [answer], "rejected": [_plain(example.rejected or {})], **tools}


def question_line_of(example: Example) -> Line:
    """Return what was asked, the answer that is right and the task: what an adapter is tried on."""
    rejected = {} if example.rejected is None else {"rejected": "\n".join(texts_in(example.rejected))}
    messages = [_plain(each) for each in (*example.messages, example.answer)]
    return {"task": example.task, "messages": messages, **_tools(example), **rejected}


def evaluation_line_of(example: Example) -> Line:
    """Return what was asked, and the answer that was called bad."""
    asked = [_plain(each) for each in example.messages]
    return {"messages": asked, **_tools(example), "bad_answer": _plain(example.answer)}


def _plain(message: Message) -> Line:
    """Return the fields that the formats know, a model may have said more, and parts of text as one text."""
    known = {key: value for key, value in message.items() if key in _KEYS and (value is not None or key == "content")}
    return {**known, "content": "\n".join(texts_in(message))} if isinstance(message.get("content"), list) else known


def _not_learnt(message: Line) -> Line:
    """Return a message of what was asked. A turn of the assistant in it is read and not learnt: nobody judged it."""
    return {**message, "weight": 0} if message.get("role") == "assistant" else message


def _tools(example: Example) -> Line:
    said: Line = {"tools": list(example.tools)} if example.tools else {}
    if example.tools and example.parallel_tool_calls is not None:
        said["parallel_tool_calls"] = example.parallel_tool_calls
    return said


def violation(line: Mapping[str, Any], form: DataFormat) -> str | None:
    """Return the name of the first rule that the line breaks, None if it breaks none."""
    return next(iter(_violations(line, form)), None)


def _violations(line: Mapping[str, Any], form: DataFormat) -> Iterator[str]:
    match form:
        case DataFormat.OPENAI_SFT:
            yield from _of_sft(line)
        case DataFormat.OPENAI_DPO:
            held = line.get("input")
            yield from _of_pair(line, held, ("preferred_output", "non_preferred_output"))
        case DataFormat.TRL:
            yield from _of_pair(line, {"messages": line.get("prompt")}, ("chosen", "rejected"))


def _of_sft(line: Mapping[str, Any]) -> Iterator[str]:
    messages = line.get("messages")
    if set(line) - _ASKED:
        yield "unrecognized_key"
    yield from _of_messages(messages)
    if isinstance(messages, list) and messages and messages[-1].get("role") != "assistant":
        yield "example_missing_assistant_message"


def _of_pair(line: Mapping[str, Any], held: Any, names: Sequence[str]) -> Iterator[str]:
    if not isinstance(held, Mapping):
        yield "missing_input"
        return
    if set(held) - _ASKED:
        yield "unrecognized_key"
    messages = held.get("messages")
    yield from _of_messages(messages)
    if isinstance(messages, list) and messages and messages[-1].get("role") == "assistant":
        yield "prompt_ends_with_assistant_message"
    outputs = [line.get(name) for name in names]
    for output in outputs:
        if not isinstance(output, list) or len(output) != 1 or output[0].get("role") != "assistant":
            yield "output_must_be_one_assistant_message"
        else:
            yield from _of_messages(output)
            if not output[0].get("content"):
                yield "output_must_be_text"
    if outputs[0] == outputs[1]:
        yield "outputs_are_the_same"


def _of_messages(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield "missing_messages_list"
        return
    called: set[str] = set()
    for message in messages:
        yield from _of_message(message)
        if isinstance(message, Mapping):
            yield from _of_tools(message, called)
    if called and messages[-1].get("role") == "tool":
        yield "tool_call_without_an_answer"


def _of_message(message: Any) -> Iterator[str]:
    if not isinstance(message, Mapping):
        yield "data_type"
        return
    if "role" not in message or not {"content", "tool_calls"} & set(message):
        yield "message_missing_key"
    if set(message) - _KEYS:
        yield "message_unrecognized_key"
    if message.get("role") not in _ROLES:
        yield "unrecognized_role"
    if not message.get("content") and not (message.get("role") == "assistant" and message.get("tool_calls")):
        yield "missing_content"
    if message.get("weight", 0) not in (0, 1):
        yield "weight_must_be_0_or_1"


def _of_tools(message: Mapping[str, Any], called: set[str]) -> Iterator[str]:
    """Check that each answer of a tool follows its call, and that all are there before somebody else speaks."""
    if message.get("role") == "tool":
        if message.get("tool_call_id") not in called:
            yield "tool_message_without_a_call"
        called.discard(str(message.get("tool_call_id")))
        return
    if called:
        yield "tool_call_without_an_answer"
    called.clear()
    called.update(str(call.get("id")) for call in message.get("tool_calls") or ())
