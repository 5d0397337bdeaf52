"""A file of jobs passes as it is; a table with a template becomes one line for each row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleet.bulk.reading.sources import SourceRow, TableJobs, open_source
from fleet.model.errors import ConfigError

Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def read(path: Path, jobs: TableJobs | None = None) -> tuple[bytes, list[SourceRow]]:
    with open_source(path, jobs) as pieces:
        found = list(pieces)
    return b"".join(piece.data for piece in found), [row for piece in found for row in piece.rows]


def test_a_file_of_jobs_is_passed_on_byte_by_byte(write: Write) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n\xff\n' + b" " * 300_000 + b'\n{"a": 2}'
    data, rows = read(write("jobs.jsonl", content))
    assert data == content
    assert [(row.number, row.data) for row in rows] == [(1, b'\xef\xbb\xbf{"a": 1}\r'), (3, b"\xff"), (5, b'{"a": 2}')]
    assert [content[row.start :].startswith(row.data) for row in rows] == [True] * 3


def test_a_line_over_the_limit_is_a_row_with_a_problem(write: Write) -> None:
    _, [long, short] = read(write("jobs.jsonl", b"x" * 2_500_000 + b"\n{}\n"))
    assert long.problem is not None and long.problem.rule == "must be at most 2,097,152 bytes"
    assert (short.number, short.start, short.data) == (2, 2_500_001, b"{}")


def test_each_row_of_a_table_becomes_a_line(write: Write) -> None:
    template = write("nudge.j2", b"Thank {{ name }}.")
    jobs = TableJobs(template, task="nudge.recognition", request={"max_tokens": 60})
    data, rows = read(write("people.csv", b"id,name\ne-1,Ada\n,Bo\n"), jobs)
    assert [json.loads(line) for line in data.splitlines()] == [
        {
            "custom_id": custom_id,
            "task": "nudge.recognition",
            "request": {"max_tokens": 60, "messages": [{"role": "user", "content": f"Thank {name}."}]},
        }
        for custom_id, name in (("e-1", "Ada"), ("line-3", "Bo"))
    ]
    assert [row.data for row in rows] == data.splitlines()


def test_any_column_can_name_the_rows(write: Write) -> None:
    template = write("nudge.j2", b"{{ name }}")
    table = write("people.csv", b"id,name,staff_no\n1,Ada,77\n")
    _, [row] = read(table, TableJobs(template, id_column="staff_no"))
    assert row.custom_id == "77"
    with pytest.raises(ConfigError, match="--id-column: staf_no is none of the columns id, name, staff_no"):
        read(table, TableJobs(template, id_column="staf_no"))


def test_rows_of_json_and_parquet_are_rendered_alike(write: Write, tmp_path: Path) -> None:
    jobs = TableJobs(write("nudge.j2", b"{{ name }}: {{ skills | join('+') }}"))
    from_json, _ = read(write("people.jsonl", b'{"id": 7, "name": "Ada", "skills": ["a", "b"]}'), jobs)
    pq.write_table(pa.table({"id": [7], "name": ["Ada"], "skills": [["a", "b"]]}), tmp_path / "people.parquet")
    from_parquet, _ = read(tmp_path / "people.parquet", jobs)
    assert from_json == from_parquet
    assert json.loads(from_json)["request"]["messages"][0]["content"] == "Ada: a+b"


def test_a_row_that_makes_no_job_is_left_out_of_the_lines_and_says_why(write: Write) -> None:
    jobs = TableJobs(write("nudge.j2", b"Thank {{ name }}."))
    data, rows = read(write("people.csv", b"id,name\na,\nb\nc,Cy\n"), jobs)
    assert [row.custom_id for row in rows] == ["a", "line-3", "c"]
    assert [row.problem and row.problem.rule for row in rows] == [
        "cannot render this row: name is empty in this row; default(...) says what stands there",
        "must have 2 fields, like the header, and has 1",
        None,
    ]
    assert len(data.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "template", "field"),
    [
        ("people.csv", None, "--template"),
        ("people.parquet", None, "--template"),
        ("people.xlsx", None, "file"),
        ("people.csv", b"{{ nmae }}", "--template"),
        ("people.csv", b"{{ 2 * 3 }}", "--template"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_first_row(
    write: Write, name: str, template: bytes | None, field: str
) -> None:
    jobs = None if template is None else TableJobs(write("nudge.j2", template))
    with pytest.raises(ConfigError) as raised, open_source(write(name, b"name\nAda\n"), jobs):
        pass
    assert raised.value.field == field
