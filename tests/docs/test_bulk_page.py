"""What docs/how-to/bulk.md shows can be done: its lines are jobs, its template renders its table, its options exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pages import ROOT, blocks

from fleet.bulk.lines import read_line
from fleet.bulk.reading.checking import RowChecker, described
from fleet.bulk.reading.sources import TableJobs, open_source
from fleet.bulk.reading.templates import _FILTERS
from fleet.bulk.writing.sinks import COLUMNS
from fleet.cli.bulk.submit import accepts

PAGE = ROOT / "docs" / "how-to" / "bulk.md"
SHOWN = {block.language: block.text for block in blocks(PAGE)}


def test_the_lines_are_jobs() -> None:
    check = accepts("acme")
    for number, line in enumerate(SHOWN["json"].splitlines(), 1):
        check(read_line(b"", number, line.encode(), now=0.0).submission)


def test_the_template_renders_the_table(tmp_path: Path) -> None:
    (tmp_path / "employees.csv").write_text(SHOWN["csv"])
    (tmp_path / "nudge.j2").write_text(SHOWN["jinja"])
    with open_source(tmp_path / "employees.csv", TableJobs(tmp_path / "nudge.j2")) as pieces:
        lines = [json.loads(row.data) for piece in pieces for row in piece.rows]
    assert [(line["custom_id"], line["request"]["messages"][-1]["content"]) for line in lines] == [
        ("e-17", "Katapu Fene of team Harbour closed the oldest ticket."),
        ("e-18", "Oru Tamsin of team Lighthouse has been here for a year."),
    ]
    assert {line["request"]["messages"][0]["content"] for line in lines} == {
        "You write one warm, specific sentence of recognition."
    }


def test_the_problems_are_told_as_shown(tmp_path: Path) -> None:
    good = b'{"task": "chat", "messages": [{"role": "user", "content": "hello"}], "custom_id": "note-%d"}'
    lines = [good % number for number in (1, 2, 3, 4, 5, 6, 2, 8, 9)]
    lines[2] = lines[2][:52] + b"\xe9" + lines[2][53:]
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"\n".join(lines))
    with RowChecker() as checker, open_source(path) as pieces:
        for piece in pieces:
            for row in piece.rows:
                checker.take(row, 0.0)
        told = list(described(checker.finish().problems))
    shown = [line.removeprefix("· ") for line in SHOWN["console"].splitlines() if line.startswith("· ")]
    # The bytes and the name depend on the lines before.
    assert [_without_place(line) for line in told] == [_without_place(line) for line in shown]


def _without_place(line: str) -> str:
    return re.sub(r"byte \d+, [^:]+:", "byte …:", line)


@pytest.mark.parametrize("words", [_FILTERS, COLUMNS], ids=["filters", "columns"])
def test_every_filter_and_column_is_listed(words: dict[str, object]) -> None:
    assert {f"`{word}`" for word in words} <= set(re.findall(r"`\w+`", PAGE.read_text()))
