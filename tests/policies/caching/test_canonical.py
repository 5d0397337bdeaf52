"""Canonical JSON: written fast, and as the reference writes it."""

from __future__ import annotations

import math
from collections import OrderedDict
from enum import StrEnum

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.caching.canonical import canonical

REFUSALS = (rfc8785.CanonicalizationError, TypeError, UnicodeEncodeError)


class Name(StrEnum):
    USER = "user"


def reference(value):
    try:
        return rfc8785.dumps(value)
    except REFUSALS:
        return None


def ours(value):
    try:
        return canonical(value)
    except REFUSALS:
        return None


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**53) - 2, 2**53 + 2)
    | st.floats()
    | st.floats(-1e17, 1e17).map(lambda number: round(number, 3))
    | st.text(st.characters(codec=None))
    | st.text('\x00\x08\t\n\x0b\x0c\r\x1f"\\/\x7f\x80\u2028\ud800\ue000\U0001f600aé')
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(st.sampled_from(["role", "content", "Z", "a", "é", "\ue000", "\U0001f600"]), inner)
    ),
    max_leaves=12,
)


@given(value=VALUES)
@settings(max_examples=300)
def test_it_is_what_the_reference_writes(value):
    assert ours(value) == reference(value)


@pytest.mark.parametrize(
    "value",
    [
        0.0,
        -0.0,
        1.0,
        0.7,
        1e-4,
        9.9e-5,
        1e-7,
        1e15,
        123456789012345.6,
        1e16,
        1e21,
        5e-324,
        math.nan,
        math.inf,
        2**53,
        -(2**53),
        float(2**53),
        Name.USER,
        {1: 2},
        {Name.USER: 1},
        (1, "a"),
        {"a": {1, 2}},
        OrderedDict(b=1, a=2),
        "\ud800",
        {"\ud800": 1},
        b"bytes",
    ],
)
def test_it_is_what_the_reference_writes_of_rare_values(value):
    assert ours(value) == reference(value)
