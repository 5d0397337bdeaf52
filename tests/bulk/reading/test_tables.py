"""Rows of CSV and Parquet come one at a time, each with its place; what is no row says so and the next one comes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet.bulk.reading.splitting import MAX_LINE_BYTES
from fleet.bulk.reading.tables import CsvTable, ParquetTable, TableRow, UnreadableTable


def csv_rows(path: Path, content: bytes) -> tuple[list[str], list[TableRow]]:
    path.write_bytes(content)
    with path.open("rb") as file:
        table = CsvTable(path, file)
        return list(table.columns), list(table.rows(table.columns))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def test_rows_are_named_by_the_header_and_know_where_they_stand(path: Path) -> None:
    columns, rows = csv_rows(path, b"name,team\nAda,red\n\nBo,blue\n")
    assert columns == ["name", "team"]
    assert rows == [
        TableRow(2, 10, {"name": "Ada", "team": "red"}),
        TableRow(4, 19, {"name": "Bo", "team": "blue"}),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"name,team\r\nAda,red\r\n",
        b"\xef\xbb\xbfname,team\nAda,red\n",
        b"name;team\nAda;red\n",
        b"name\tteam\nAda\tred",
        b' name ,"team"\n"Ada",red\n',
    ],
)
def test_marks_line_ends_and_separators_of_spreadsheets_are_understood(path: Path, content: bytes) -> None:
    _, rows = csv_rows(path, content)
    assert [row.values for row in rows] == [{"name": "Ada", "team": "red"}]


def test_a_field_in_quotation_marks_may_hold_anything(path: Path) -> None:
    _, rows = csv_rows(path, 'name,text\nAda,"a, ""b""\nand\u2028c"\nBo,d\n'.encode())
    assert [(row.number, row.values["text"]) for row in rows] == [(2, 'a, "b"\nand\u2028c'), (4, "d")]


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (b"\xff,red", "must be UTF-8, and 0xff at byte 0 of it is not"),
        (b'"a\nb\xe9",red', "must be UTF-8, and 0xe9 at byte 4 of it is not"),
        (b"Ada", "must have 2 fields, like the header, and has 1"),
        (b"Ada,red,old", "must have 2 fields, like the header, and has 3"),
    ],
)
def test_a_bad_row_says_why_and_the_next_one_is_read(path: Path, bad: bytes, rule: str) -> None:
    _, [first, second] = csv_rows(path, b"name,team\n" + bad + b"\nBo,blue\n")
    assert first.problem is not None
    assert (first.number, first.start, first.problem.rule) == (2, 10, rule)
    assert second.values == {"name": "Bo", "team": "blue"}


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "must begin with a line of column names"),
        (b"\n\n", "must begin with a line of column names"),
        (b"name,name\n", "must have columns with names of their own"),
        (b"name,,team\n", "must have columns with names of their own"),
        (b"n\xe4me\n", "must be UTF-8"),
        (b'name,text\nAda,"never closed\n', "line 2, byte 10: unexpected end of data"),
        (b'name,text\nAda,"a"b\n', "line 2, byte 10: "),
        (
            b'name,text\nAda,"' + (b"x" * 999 + b"\n") * 2200,
            "line 2, byte 10: must be at most 2,097,152 bytes; perhaps",
        ),
        (b"name,text\nAda," + b"x" * MAX_LINE_BYTES, "line 2, byte 10: must be at most 2,097,152 bytes; perhaps"),
    ],
)
def test_a_table_that_cannot_be_told_apart_is_refused_where_that_shows(path: Path, content: bytes, rule: str) -> None:
    with pytest.raises(UnreadableTable) as raised:
        csv_rows(path, content)
    assert rule in str(raised.value)


def test_columns_get_names_that_a_template_can_use(path: Path) -> None:
    columns, _ = csv_rows(path, "First Name,e-mail,größe\n".encode())
    assert columns == ["First_Name", "e_mail", "größe"]


def parquet_rows(path: Path, columns: Mapping[str, Any], wanted: list[str] | None = None) -> list[TableRow]:
    pq.write_table(pa.table(dict(columns)), path, row_group_size=2)
    table = ParquetTable(path)
    try:
        return list(table.rows(table.columns if wanted is None else wanted))
    finally:
        table.close()


def test_a_parquet_row_has_python_values(path: Path) -> None:
    day = datetime.date(2026, 3, 1)
    [row] = parquet_rows(path, {"name": ["Ada"], "years": [3], "since": [day], "tags": [["a", "b"]], "pay": [None]})
    assert row == TableRow(1, 0, {"name": "Ada", "years": 3, "since": day, "tags": ["a", "b"], "pay": None})


def test_a_number_that_is_none_is_no_value(path: Path) -> None:
    assert [row.values for row in parquet_rows(path, {"score": [1.5, float("nan")]})] == [
        {"score": 1.5},
        {"score": None},
    ]


def test_only_the_wanted_columns_are_read_and_rows_are_counted_over_groups(path: Path) -> None:
    rows = parquet_rows(path, {"name": list("abcde"), "text": ["long"] * 5}, ["name"])
    assert [(row.number, row.values) for row in rows] == [(n, {"name": name}) for n, name in enumerate("abcde", 1)]
    assert [row.values for row in parquet_rows(path, {"name": list("abc")}, [])] == [{}, {}, {}]


def test_the_largest_group_is_known_because_memory_follows_it(path: Path) -> None:
    pq.write_table(pa.table({"name": list("abcde")}), path, row_group_size=3)
    table = ParquetTable(path)
    assert table.max_group_rows == 3
    table.close()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"name\nAda\n"])
def test_what_is_no_parquet_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(UnreadableTable, match="must be a Parquet file"):
        ParquetTable(path)
