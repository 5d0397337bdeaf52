"""Secrets and personal data leave no trace, one placeholder stands for one value, and JSON stays JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_examples import example

from fleet.lab.data.scrubbing import scrubbed
from policies.caching.personal import is_personal

KEY = "sk-" + "a1B2" * 8
VALUES = [
    ("ada@example.org", "EMAIL"),
    ("0170 5550142", "NUMBER"),
    ("24.12.1985", "NUMBER"),
    ("DE89 3704 0044 0532 0130 00", "ACCOUNT"),
    ("192.0.2.17", "ADDRESS"),
    ("2001:db8:0:1::17", "ADDRESS"),
    (KEY, "SECRET"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl", "SECRET"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----", "SECRET"),
]


@pytest.mark.parametrize(("value", "kind"), VALUES)
def test_a_value_has_the_same_placeholder_in_question_and_answers(value: str, kind: str) -> None:
    found, counts = scrubbed(
        example(1, f"Write to {value} now.", f"I wrote to {value}.", rejected={"role": "assistant", "content": value})
    )
    assert found.messages[1]["content"] == f"Write to <{kind}_1> now."
    assert found.answer["content"] == f"I wrote to <{kind}_1>."
    assert found.rejected is not None
    assert found.rejected["content"] == f"<{kind}_1>"
    assert counts == {kind: 1}


def test_two_values_have_two_placeholders_and_capitals_make_no_other() -> None:
    found, _ = scrubbed(example(1, "ada@example.org, ben@example.org", "Ada@Example.org"))
    assert (found.messages[1]["content"], found.answer["content"]) == ("<EMAIL_1>, <EMAIL_2>", "<EMAIL_1>")


@pytest.mark.parametrize("text", ["password: hunter22", 'api_key = "hunter22"', "Authorization: Bearer hunter22"])
def test_a_secret_is_known_by_what_stands_before_it(text: str) -> None:
    found, _ = scrubbed(example(1, text))
    assert found.messages[1]["content"] == text.replace("hunter22", "<SECRET_1>")


def test_a_password_in_an_address_goes_and_the_address_stays() -> None:
    found, _ = scrubbed(example(1, "postgresql://ada:hunter22@db/fleet"))
    assert found.messages[1]["content"] == "postgresql://<SECRET_1>@db/fleet"


def test_json_stays_json_and_what_has_nothing_personal_stays_as_it_was() -> None:
    harmless = '{"day":77,  "name": "Rore"}'
    called = {"id": "call_1", "type": "function", "function": {"name": "call", "arguments": '{"phone": 4917055501421}'}}
    found, _ = scrubbed(
        example(1, "4917055501421", harmless, rejected={"role": "assistant", "content": None, "tool_calls": [called]})
    )
    assert found.answer["content"] == harmless
    assert found.rejected is not None
    call = found.rejected["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"phone": "<NUMBER_1>"}
    assert (call["id"], call["function"]["name"]) == ("call_1", "call")


def test_a_person_loses_the_name_beside_the_message() -> None:
    found, _ = scrubbed(example(1, messages=({"role": "user", "name": "Ada", "content": "Hello"},)))
    assert found.messages == ({"role": "user", "content": "Hello"},)


PIECES = st.sampled_from([*(value for value, _ in VALUES), "and", "day 77", "\n", " ", "-", "x", "1", '"', "{", "@"])


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=6).map("".join))
def test_nothing_of_a_personal_shape_is_left(text: str) -> None:
    found, _ = scrubbed(example(1, f"say {text}"))
    assert not is_personal(found.texts, frozenset())


@pytest.mark.parametrize("piece", ["a", "a-", "eyJ-", "a.", "1 ", "aB3", "://", "A1", "password:", "f:"])
def test_a_text_of_any_kind_and_length_is_read_once(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    found, _ = scrubbed(example(1, text))
    assert found.messages[1]["content"]
