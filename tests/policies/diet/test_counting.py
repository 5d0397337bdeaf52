"""Estimates of tokens are rather too high than too low."""

from __future__ import annotations

import pytest

from policies.diet.counting import MESSAGE_TOKENS, message_tokens, text_tokens
from policies.rules.sections import Estimates

ESTIMATES = Estimates(4.0, 1500, 256)
CSS = ".card > a:hover { color: #fff; margin: 0 4px; }\n"
PROSE = "The meeting is on Monday, and everyone is welcome to it. "


@pytest.mark.parametrize(
    ("text", "bytes_per_token"),
    [
        (PROSE * 50, 4.0),
        (CSS * 50, 2.5),
        ('{"name": "Ada Example", "age": 36}' * 50, 2.5),
        (PROSE * 20 + CSS * 20, 2.5),
        ("Встреча в понедельник. " * 50, 4.0),
        ("会議は月曜日です。" * 50, 4.0),
        ("", 4.0),
    ],
)
def test_text_is_counted_by_bytes_and_code_by_more(text, bytes_per_token):
    assert text_tokens(text, ESTIMATES) == -(-len(text.encode()) // bytes_per_token)


def test_a_rule_that_asks_for_more_tokens_than_code_has_is_heeded_for_code_too():
    assert text_tokens(CSS, Estimates(2.0, 1500, 256)) == len(CSS) / 2


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ({"content": None}, 0),
        ({"content": [{"type": "text", "text": "word"}, {"type": "image_url", "image_url": {}}, "?"]}, 1501),
        ({"content": [{"type": "file", "file": {"file_data": "x" * 9000}}]}, 1500),
        ({"content": "word", "tool_calls": [{"id": "c"}]}, 7),
    ],
)
def test_a_message_counts_its_parts_and_its_calls(message, tokens):
    assert message_tokens(message, ESTIMATES) == MESSAGE_TOKENS + tokens
