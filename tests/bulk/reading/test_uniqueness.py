"""Repeated ids are found among any number of rows, in a bounded part of memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleet.bulk.reading.sorting import SortOnDisk
from fleet.bulk.reading.uniqueness import LineSet, RepeatedId, UniqueIds


@given(st.lists(st.sampled_from("abcdef"), max_size=40))
def test_each_row_after_the_first_with_an_id_is_found(ids: list[str]) -> None:
    with UniqueIds(max_bytes=300) as unique:
        for number, custom_id in enumerate(ids, 1):
            unique.add(custom_id, number, number * 10)
        found = sorted(unique.repeated(), key=lambda each: each.number)
    assert found == [
        RepeatedId(number, number * 10, ids.index(custom_id) + 1)
        for number, custom_id in enumerate(ids, 1)
        if ids.index(custom_id) + 1 < number
    ]


def test_the_ids_of_many_rows_take_little_memory() -> None:
    tracemalloc.start()
    with UniqueIds(max_bytes=300_000) as unique:
        for number in range(1, 20_001):
            unique.add(f"row-{number % 19_990}", number, 0)
        assert len(list(unique.repeated())) == 10
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@given(st.lists(st.binary(max_size=9).map(lambda each: each.replace(b"\n", b"") + b"\n")))
def test_lines_come_in_order_however_few_fit_into_memory(lines: list[bytes]) -> None:
    with SortOnDisk(max_bytes=150, max_runs=2) as by_bytes:
        for line in lines:
            by_bytes.add(line)
        assert list(by_bytes.sorted()) == sorted(lines)


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    with SortOnDisk(tmp_path, max_bytes=1) as lines:
        for line in (b"b\n", b"a\n"):
            lines.add(line)
        assert list(lines.sorted()) == [b"a\n", b"b\n"]
    assert list(tmp_path.iterdir()) == []


@given(st.sets(st.integers(1, 200)))
def test_a_set_of_lines_holds_what_was_added(numbers: set[int]) -> None:
    lines = LineSet()
    for number in numbers:
        lines.add(number)
    assert {number for number in range(300) if number in lines} == numbers
