"""Makes jobs of rows, with what their batch says of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from fleet.batches.blocks import NumberedRow
from fleet.batches.settings import RowCheck
from fleet.bulk.lines import BulkRow, custom_id_of, default_custom_id, line_job_id, read_line, run_key
from fleet.bulk.reading.sources import SourceRow
from fleet.bulk.reading.uniqueness import LineSet
from fleet.model.batch import Batch
from fleet.model.errors import InvalidJob
from fleet.model.job import Lane
from fleet.model.submission import Submission, submission_of

_OWN = frozenset({"id", "task", "request", "lane", "traceparent"})
"""Fields of a submission that no option of a batch stands in for."""

REPEATED = InvalidJob("custom_id", "must be unique, and is on an earlier line already")


@dataclass(frozen=True, slots=True)
class RowJob:
    """A row that is to be done: a job, or the `problem` why it is none."""

    row: int
    line: int
    job_id: str
    custom_id: str
    submission: Submission | None = None
    problem: InvalidJob | None = None

    @property
    def said(self) -> Submission:
        """The submission of a row that is a job."""
        assert self.submission is not None
        return self.submission


class BatchDefaults:
    """The options of a batch, for its rows that do not state their own. Raises: InvalidJob if one breaks a rule."""

    def __init__(self, batch: Batch, now: float) -> None:
        said = submission_of("", "", {}, {**batch.defaults, "lane": Lane.BULK}, now)
        self._defaults = {name: value for name, value in _options_of(said).items() if value != _DEFAULTS[name]}
        self._expires_at = batch.expires_at

    def added_to(self, submission: Submission) -> Submission:
        unsaid = {name: value for name, value in self._defaults.items() if getattr(submission, name) == _DEFAULTS[name]}
        deadline_at = unsaid.pop("deadline_at", submission.deadline_at)
        # Nobody waits for an answer that comes after the end.
        unsaid["deadline_at"] = self._expires_at if deadline_at is None else min(deadline_at, self._expires_at)
        return replace(submission, **unsaid)


class JobsOfBatch:
    """Makes the job of each row. Equal batch, line number and bytes give equal ids.

    `refused` are the lines that validation refused: those that pass `check` for a custom_id that another line has.

    Raises: InvalidJob if an option of the batch breaks a rule.
    """

    def __init__(self, batch: Batch, refused: LineSet, check: RowCheck, now: float) -> None:
        self._tenant = batch.tenant
        self._check = check
        self._key = run_key(batch.tenant, batch.id)
        self._refused = refused
        self._defaults = BatchDefaults(batch, now)

    def job(self, row: NumberedRow, now: float) -> RowJob:
        source = row.source
        job_id = line_job_id(self._key, source.number, source.data)
        try:
            read = self._read(source, now)
        except InvalidJob as problem:
            custom_id = default_custom_id(source.number) if problem is REPEATED else _name_of(source)
            return RowJob(row.row, source.number, job_id, custom_id, problem=problem)
        return RowJob(row.row, source.number, job_id, read.custom_id, read.submission)

    def _read(self, source: SourceRow, now: float) -> BulkRow:
        if source.problem is not None:
            raise source.problem
        read = read_line(self._key, source.number, source.data, now)
        submission = self._defaults.added_to(read.submission)
        if source.number in self._refused:
            self._check(submission, self._tenant)
            raise REPEATED
        return replace(read, submission=submission)


def _name_of(source: SourceRow) -> str:
    return source.custom_id or custom_id_of(source.number, source.data)


def _default_of(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


_DEFAULTS: Mapping[str, Any] = {each.name: _default_of(each) for each in fields(Submission) if each.name not in _OWN}


def _options_of(submission: Submission) -> dict[str, Any]:
    return {name: getattr(submission, name) for name in _DEFAULTS}
