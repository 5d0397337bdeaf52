"""The header `Range`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.gateway.bulk.ranges import Slice, slice_of

SIZE = 100


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=90-", 90, 100),
        ("bytes=90-1000", 90, 100),
        ("bytes=-10", 90, 100),
        ("bytes=-1000", 0, 100),
        ("Bytes=5-6", 5, 7),
    ],
)
def test_a_range_is_the_bytes_that_it_names(header: str, start: int, end: int) -> None:
    assert slice_of(header, SIZE) == Slice(start, end)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=-", "bytes=5", "bytes=9-8", "bytes=0-1,5-6", "lines=0-1", "bytes=a-b", "bytes=+1-2", "bytes=٣-٤"],
)
def test_what_is_no_single_range_asks_for_the_whole(header: str | None) -> None:
    assert slice_of(header, SIZE) == Slice(0, SIZE, is_partial=False)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=9999999999999999999-"])
def test_a_range_of_which_nothing_is_there_is_none(header: str) -> None:
    assert slice_of(header, SIZE) is None


def test_an_empty_file_has_no_range_and_can_be_read_whole() -> None:
    assert slice_of("bytes=0-", 0) is None
    assert slice_of(None, 0) == Slice(0, 0, is_partial=False)


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,19}-[0-9]{0,19}", fullmatch=True), st.integers(0, 10**12))
def test_no_header_asks_for_what_is_not_there(header: str, size: int) -> None:
    found = slice_of(header, size)
    assert found is None or 0 <= found.start <= found.end <= size
