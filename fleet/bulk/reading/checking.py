"""Checks rows one at a time, in constant memory, and says of each that is no job where it stands and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fleet.bulk.lines import BulkRow, custom_id_of, default_custom_id, read_line
from fleet.bulk.reading.sources import SourceRow
from fleet.bulk.reading.uniqueness import LineSet, UniqueIds
from fleet.model.batch import MOST_PROBLEMS, LineProblem
from fleet.model.errors import InvalidJob
from fleet.model.submission import Submission

SubmissionCheck = Callable[[Submission], None]
"""Raises InvalidJob for a submission that the fleet would refuse."""


@dataclass(slots=True)
class ValidationReport:
    """Tells what is wrong with a file: the first problems by line, and how many there are.

    `refused` are the lines that are no jobs.
    """

    rows: int = 0
    problem_count: int = 0
    problems: list[LineProblem] = field(default_factory=list)
    refused: LineSet = field(default_factory=LineSet)

    def add(self, problem: LineProblem) -> None:
        self.problem_count += 1
        self.refused.add(problem.line)
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


class RowChecker:
    """Checks every row of a file in its order; which ids are repeated is known at the end.

    Raises: OSError if the disk is full.
    """

    def __init__(
        self,
        check: SubmissionCheck = lambda submission: None,
        on_problem: Callable[[LineProblem], None] = lambda problem: None,
        folder: Path | None = None,
    ) -> None:
        self._check = check
        self._on_problem = on_problem
        self._ids = UniqueIds(folder)
        self.report = ValidationReport()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ids.close()

    def take(self, row: SourceRow, now: float) -> BulkRow | None:
        """Return the job on the row; None, with a line in the report, if it is no job."""
        self.report.rows += 1
        try:
            job = self._read(row, now)
        except InvalidJob as problem:
            self._refuse(problem_of(row, problem))
            return None
        self._ids.add(job.custom_id, row.number, row.start)
        return job

    def _refuse(self, problem: LineProblem) -> None:
        self.report.add(problem)
        self._on_problem(problem)

    def _read(self, row: SourceRow, now: float) -> BulkRow:
        if row.problem is not None:
            raise row.problem
        job = read_line(b"", row.number, row.data, now)
        self._check(job.submission)
        return job

    def finish(self) -> ValidationReport:
        """Add the rows whose custom_id an earlier job has, and return the report."""
        for each in self._ids.repeated():
            rule = f"must be unique, and is on line {each.first} already"
            custom_id = default_custom_id(each.number)
            self._refuse(LineProblem(each.number, each.start, custom_id, "custom_id", rule))
        self.report.problems.sort(key=lambda problem: problem.line)
        return self.report


def problem_of(row: SourceRow, problem: InvalidJob) -> LineProblem:
    """Return the problem with the place and the name of its row."""
    custom_id = row.custom_id or custom_id_of(row.number, row.data)
    return LineProblem(row.number, row.start, custom_id, problem.field, problem.rule)


def described(problems: Iterable[LineProblem]) -> Iterator[str]:
    """Yield a line for people about each problem."""
    for each in problems:
        place = f"line {each.line}, byte {each.byte}" if each.line else "the file"
        name = f", {each.custom_id}" if each.custom_id else ""
        yield f"{place}{name}: {each.field} {each.rule}"
