"""Lines come out as they went in, however the bytes are cut, and none is ever held beyond its limit."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.bulk.reading.splitting import MAX_LINE_BYTES, Line, LineSplitter, lines_in
from fleet.model.errors import InvalidJob

LIMIT = 8
CONTENTS = st.lists(st.binary(max_size=12)).map(b"\n".join)


def split(pieces: Iterator[bytes], limit: int = MAX_LINE_BYTES) -> list[Line]:
    splitter = LineSplitter(limit)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return [*lines, *splitter.finish()]


def cut(content: bytes, places: list[int]) -> Iterator[bytes]:
    ends = [*sorted(place % (len(content) + 1) for place in places), len(content)]
    return (content[start:end] for start, end in zip([0, *ends], ends, strict=False))


@given(CONTENTS, st.lists(st.integers(min_value=0)))
def test_every_line_has_its_number_its_bytes_and_the_place_where_it_begins(content: bytes, places: list[int]) -> None:
    lines = split(cut(content, places), LIMIT)
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))
    assert [line.data for line in lines] == [each[:LIMIT] for each in expected]
    assert [line.is_whole for line in lines] == [len(each) <= LIMIT for each in expected]
    assert all(content[line.start :].startswith(line.data) for line in lines)
    assert all(line.start == 0 or content[line.start - 1 : line.start] == b"\n" for line in lines)


def test_only_a_line_feed_ends_a_line() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\rg".encode()
    assert [line.data for line in split(iter([text + b"\r\n", b"next"]))] == [text + b"\r", b"next"]


@pytest.mark.parametrize("data", [b"", b"  ", b"\r", b"\t\r", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r"])
def test_a_line_of_nothing_but_spaces_and_marks_is_blank(data: bytes) -> None:
    assert Line(1, 0, data).is_blank


def test_a_line_without_an_end_is_taken_in_pieces_that_are_not_kept() -> None:
    splitter, piece = LineSplitter(), b"x" * 65536
    for _ in range(100):
        assert list(splitter.feed(piece)) == []
    tracemalloc.start()
    for _ in range(16_000):  # a gigabyte
        assert list(splitter.feed(piece)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MAX_LINE_BYTES
    [long, next_line] = list(splitter.feed(b"\nnext\n"))
    assert (long.is_whole, long.start, len(long.data)) == (False, 0, MAX_LINE_BYTES)
    assert (next_line.number, next_line.start, next_line.data) == (2, 16_100 * 65536 + 1, b"next")
    with pytest.raises(InvalidJob, match="line: must be at most 2,097,152 bytes"):
        long.whole()


async def test_pieces_that_come_later_are_split_alike() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a\nb"
        yield b"c\nd"

    assert [line async for line in lines_in(pieces())] == [Line(1, 0, b"a"), Line(2, 2, b"bc"), Line(3, 5, b"d")]
