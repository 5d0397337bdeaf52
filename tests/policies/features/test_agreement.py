"""When two answers say the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Usage
from policies.features.agreement import agree


def said(text, **message):
    return Answer({"role": "assistant", "content": text, **message}, "stop", Usage(), "m")


def call(name, arguments):
    return said(None, tool_calls=[{"function": {"name": name, "arguments": arguments}}])


LONG = "We should meet on Monday to go through the plan for the launch, and then again on Thursday."


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Positive", " positive. ", True),
        ("positive", "negative", False),
        ("18", "18.0", True),
        ("1,000", "1000", True),
        ("18", "19", False),
        ("so 2 + 3 = 5\n#### 5", "#### 5.0", True),
        ("The answer is: Paris", "paris", True),
        ("#### 5", "#### 6", False),
        ('{"a": 1, "b": [2]}', '{ "b": [2], "a": 1 }', True),
        ('{"a": 1}', '{"a": 2}', False),
        ("hello, world", "hello world", True),
        (LONG, LONG + " ", True),
        (LONG, LONG.replace("Monday", "Tuesday"), None),
        ("", "", True),
    ],
)
def test_answers_are_compared_by_what_they_settle_on(one, other, same):
    assert agree(said(one), said(other)) is same
    assert agree(said(other), said(one)) is same


def test_tool_calls_agree_by_name_and_arguments():
    assert agree(call("book", '{"day": 1, "of": 2}'), call("book", '{"of":2,"day":1}')) is True
    assert agree(call("book", '{"day": 1}'), call("book", '{"day": 2}')) is False
    assert agree(call("book", "{}"), said("book")) is False


@given(st.text())
def test_every_answer_agrees_with_itself(text):
    assert agree(said(text), said(text)) is True
