"""Lines are what trainers read, and a line that they would refuse is found before it is written."""

from __future__ import annotations

from typing import Any

import pytest
from training_examples import example

from fleet.lab.data.formats import DataFormat, line_of, violation

SFT, DPO, TRL = DataFormat
REJECTED = {"role": "assistant", "content": "Both: payroll", "reasoning_content": "hm", "refusal": None}
PAIR = example(1, "Which?", rejected=REJECTED)
SYSTEM, USER = {"role": "system", "content": "You plan."}, {"role": "user", "content": "Which?"}
ANSWER = {"role": "assistant", "content": "Both: laptop"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
FOUND = {"role": "tool", "tool_call_id": "call_1", "content": "two"}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
NO = [{"role": "assistant", "content": "Both: payroll"}]


def test_an_example_in_each_format() -> None:
    assert line_of(PAIR, SFT) == {"messages": [SYSTEM, USER, ANSWER]}
    assert line_of(PAIR, DPO) == {
        "input": {"messages": [SYSTEM, USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": NO,
    }
    assert line_of(PAIR, TRL) == {"prompt": [SYSTEM, USER], "chosen": [ANSWER], "rejected": NO}
    assert [violation(line_of(PAIR, form), form) for form in DataFormat] == [None] * 3


def test_tools_come_along() -> None:
    asked = example(1, messages=(USER, CALLING, FOUND), tools=(TOOL,), parallel_tool_calls=False)
    line = line_of(asked, SFT)
    assert line == {
        "messages": [USER, CALLING | {"weight": 0}, FOUND, ANSWER],
        "tools": [TOOL],
        "parallel_tool_calls": False,
    }
    assert violation(line, SFT) is None


def test_only_the_answer_that_was_judged_is_learnt_of_a_chat() -> None:
    line = line_of(example(1, messages=(USER, ANSWER, USER)), SFT)
    assert line == {"messages": [USER, ANSWER | {"weight": 0}, USER, ANSWER]}
    assert violation(line, SFT) is None


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "Which"}, {"type": "text", "text": "one?"}]
    line = line_of(example(1, messages=({"role": "user", "content": parts},)), SFT)
    assert line["messages"][0] == {"role": "user", "content": "Which\none?"}


BROKEN: list[tuple[list[Any], str]] = [
    ([], "missing_messages_list"),
    ([USER], "example_missing_assistant_message"),
    ([ANSWER, USER], "example_missing_assistant_message"),
    ([USER, "no message"], "data_type"),
    ([{"content": "x"}, ANSWER], "message_missing_key"),
    ([{"role": "user"}, ANSWER], "message_missing_key"),
    ([USER | {"mood": "x"}, ANSWER], "message_unrecognized_key"),
    ([{"role": "critic", "content": "x"}, ANSWER], "unrecognized_role"),
    ([{"role": "user", "content": ""}, ANSWER], "missing_content"),
    ([USER, ANSWER | {"weight": 2}], "weight_must_be_0_or_1"),
    ([USER, CALLING, ANSWER], "tool_call_without_an_answer"),
    ([USER, FOUND, ANSWER], "tool_message_without_a_call"),
]


@pytest.mark.parametrize(("messages", "rule"), BROKEN)
def test_a_line_that_would_be_refused_names_the_rule(messages: list[Any], rule: str) -> None:
    messages = [each for each in messages if isinstance(each, dict)] if rule != "data_type" else [*messages, ANSWER]
    assert violation({"messages": messages}, SFT) == rule


def test_a_key_beside_the_known_ones_is_refused() -> None:
    assert violation({"messages": [USER, ANSWER], "job": 1}, SFT) == "unrecognized_key"


PAIRS: list[tuple[dict[str, Any], str]] = [
    ({"preferred_output": NO, "non_preferred_output": NO}, "outputs_are_the_same"),
    ({"preferred_output": [ANSWER, ANSWER], "non_preferred_output": NO}, "output_must_be_one_assistant_message"),
    ({"preferred_output": [USER], "non_preferred_output": NO}, "output_must_be_one_assistant_message"),
    ({"preferred_output": [CALLING], "non_preferred_output": NO}, "output_must_be_text"),
    (
        {"input": {"messages": [USER, ANSWER]}, "preferred_output": [ANSWER], "non_preferred_output": NO},
        "prompt_ends_with_assistant_message",
    ),
    ({"input": None, "preferred_output": [ANSWER], "non_preferred_output": NO}, "missing_input"),
]


@pytest.mark.parametrize(("line", "rule"), PAIRS)
def test_a_pair_that_would_be_refused_names_the_rule(line: dict[str, Any], rule: str) -> None:
    assert violation({"input": {"messages": [USER]}} | line, DPO) == rule
