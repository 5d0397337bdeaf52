"""Every row is a job, or a line in the report with its place, its name, its field and its rule."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from fleet.bulk.reading.checking import RowChecker, ValidationReport, described
from fleet.bulk.reading.sources import row_of
from fleet.bulk.reading.splitting import LineSplitter
from fleet.model.batch import MOST_PROBLEMS, LineProblem
from fleet.model.errors import InvalidJob
from fleet.model.submission import Submission

HELLO = [{"role": "user", "content": "hello"}]
BATCH = {"method": "POST", "url": "/v1/chat/completions", "body": {"messages": HELLO}}


def job(custom_id: str, **more: Any) -> bytes:
    return json.dumps({"task": "chat", "messages": HELLO, "custom_id": custom_id, **more}).encode()


def report_on(lines: Iterable[bytes], **options: Any) -> ValidationReport:
    splitter = LineSplitter()
    with RowChecker(**options) as checker:
        for line in lines:
            for found in splitter.feed(line + b"\n"):
                checker.take(row_of(found), now=0.0)
        return checker.finish()


def test_good_rows_are_counted_and_nothing_is_wrong() -> None:
    report = report_on([job("a"), job("b"), json.dumps({"custom_id": "c", **BATCH}).encode()])
    assert (report.rows, report.problem_count, report.problems) == (3, 0, [])


@pytest.mark.parametrize(
    ("line", "custom_id", "field", "rule"),
    [
        (b"\xffabc", "line-2", "line", "must be JSON in UTF-8, and 0xff at byte 0 of it is not"),
        ('{"task": "é'.encode() + b"\xe9", "line-2", "line", "must be JSON in UTF-8, and 0xe9 at byte 12 of it is not"),
        (b"\xef\xbb\xbfab\xe9", "line-2", "line", "must be JSON in UTF-8, and 0xe9 at byte 5 of it is not"),
        ('{"é": oops}'.encode(), "line-2", "line", "must be JSON (expecting value at byte 7 of it)"),
        (b"\xef\xbb\xbf{oops}", "line-2", "line", "must be JSON (expecting property name"),
        ("hello".encode("utf-16"), "line-2", "line", "must be JSON in UTF-8, and 0xff at byte 0 of it is not"),
        (b'{"a": NaN}', "line-2", "line", "must be JSON, without NaN"),
        (b'{"a": -Infinity}', "line-2", "line", "must be JSON, without NaN"),
        (b'{"a": ' + b"9" * 5000 + b"}", "line-2", "line", "must be JSON, without NaN"),
        (b"[" * 100_000, "line-2", "line", "must be JSON, and is nested too deeply"),
        (b"[1, 2]", "line-2", "line", "must be a JSON object"),
        (b"x" * 3_000_000, "line-2", "line", "must be at most 2,097,152 bytes"),
        (job("b", tier="tiny"), "b", "tier", "must be 'simple'"),
        (json.dumps({**BATCH, "custom_id": "b", "url": "/v1/embeddings"}).encode(), "b", "url", "must be '/v1/chat"),
        (json.dumps({"custom_id": "b", "method": "POST", "url": BATCH["url"]}).encode(), "b", "body", "is required"),
        (job("\ud800"), "line-2", "custom_id", "must be text that UTF-8 can hold"),
        (job("a"), "line-2", "custom_id", "must be unique, and is on line 1 already"),
    ],
)
def test_a_bad_line_is_named_with_its_place_and_the_rest_is_read(
    line: bytes, custom_id: str, field: str, rule: str
) -> None:
    report = report_on([job("a"), line, job("z")])
    [problem] = report.problems
    assert (problem.line, problem.byte, problem.custom_id, problem.field) == (2, len(job("a")) + 1, custom_id, field)
    assert problem.rule.startswith(rule)
    assert [number in report.refused for number in (1, 2, 3)] == [False, True, False]


def test_a_row_without_an_id_of_its_own_takes_no_others() -> None:
    unnamed = json.dumps({"task": "chat", "messages": HELLO}).encode()
    [problem] = report_on([job("line-2"), unnamed]).problems
    assert (problem.line, problem.field) == (2, "custom_id")


def test_what_the_fleet_would_refuse_is_a_problem_of_its_line() -> None:
    def refuse(submission: Submission) -> None:
        if submission.task == "unknown":
            raise InvalidJob("task", "is not known")

    [problem] = report_on([job("a"), job("b", task="unknown")], check=refuse).problems
    assert (problem.line, problem.custom_id, problem.field, problem.rule) == (2, "b", "task", "is not known")


def test_all_problems_are_counted_and_told_and_the_first_are_listed() -> None:
    told: list[LineProblem] = []
    report = report_on([b"oops"] * 250, on_problem=told.append)
    assert (report.problem_count, len(report.problems), len(told)) == (250, MOST_PROBLEMS, 250)
    assert [problem.line for problem in report.problems] == list(range(1, MOST_PROBLEMS + 1))
    assert all(number in report.refused for number in range(1, 251))


def test_a_problem_is_told_in_one_line() -> None:
    [told] = described([LineProblem(7, 412, "note-7", "task", "is required")])
    assert told == "line 7, byte 412, note-7: task is required"
