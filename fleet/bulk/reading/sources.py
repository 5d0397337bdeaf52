"""Opens a file of jobs, or a table with a template, as lines that are jobs: one reader for every command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fleet.bulk.lines import DEFAULT_TASK, default_custom_id
from fleet.bulk.reading.splitting import PIECE_BYTES, Line, LineSplitter
from fleet.bulk.reading.tables import CsvTable, JsonTable, ParquetTable, Table, TableRow
from fleet.files import is_special
from fleet.model.errors import ConfigError, InvalidJob

if TYPE_CHECKING:
    from fleet.bulk.reading.templates import RowTemplate

ID_COLUMNS = ("custom_id", "id")
"""Columns that name their rows, unless another is named."""


class SourceFormat(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_SUFFIXES = {
    ".jsonl": SourceFormat.JSONL,
    ".ndjson": SourceFormat.JSONL,
    ".csv": SourceFormat.CSV,
    ".tsv": SourceFormat.CSV,
    ".parquet": SourceFormat.PARQUET,
}


@dataclass(frozen=True, slots=True)
class TableJobs:
    """What makes jobs of the rows of a table: `request` holds the fields of every request beside its messages."""

    template: Path
    task: str = DEFAULT_TASK
    id_column: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row as a line of jobs. `number` and `start` say where it stands in its file; with a `problem` it is no job.

    `custom_id` is there where it was read already.
    """

    number: int
    start: int
    data: bytes
    custom_id: str | None = None
    problem: InvalidJob | None = None


@dataclass(frozen=True, slots=True)
class SourcePiece:
    """The next bytes of the file as lines of jobs, and the rows that end in them; blank lines are none."""

    data: bytes
    rows: tuple[SourceRow, ...]


def format_of(path: Path) -> SourceFormat:
    """Return the format that the file's name says. Raises: ConfigError."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise ConfigError("file", f"{path} must end in {', '.join(_SUFFIXES)}")
    return found


@contextmanager
def open_source(path: Path, jobs: TableJobs | None = None) -> Iterator[Iterator[SourcePiece]]:
    """Open the file; what is wrong with it as a whole, or with the template, is told before the first row.

    Raises: ConfigError if file, template and columns do not go together; UnreadableTable, also later; OSError.
    """
    if is_special(path):
        raise ConfigError("file", f"{path} must be a regular file")
    form = format_of(path)
    if jobs is None:
        if form is not SourceFormat.JSONL:
            raise ConfigError("--template", f"is needed to make jobs of a table such as {path}")
        with path.open("rb") as file:
            yield _raw(file)
        return
    with _open_table(path, form) as table:
        yield _joined(_rendered(path, table, jobs))


def _raw(file: BinaryIO) -> Iterator[SourcePiece]:
    splitter = LineSplitter()
    while data := file.read(PIECE_BYTES):
        yield SourcePiece(data, _rows(splitter.feed(data)))
    yield SourcePiece(b"", _rows(splitter.finish()))


def _rows(lines: Iterable[Line]) -> tuple[SourceRow, ...]:
    return tuple(row_of(line) for line in lines if not line.is_blank)


def row_of(line: Line) -> SourceRow:
    """Return the line as a row that nobody has read yet."""
    try:
        return SourceRow(line.number, line.start, line.whole())
    except InvalidJob as problem:
        return SourceRow(line.number, line.start, b"", problem=problem)


@contextmanager
def _open_table(path: Path, form: SourceFormat) -> Iterator[Table]:
    if form is SourceFormat.PARQUET:
        with closing(ParquetTable(path)) as table:
            yield table
        return
    with path.open("rb") as file:
        yield JsonTable(file) if form is SourceFormat.JSONL else CsvTable(path, file)


def _rendered(path: Path, table: Table, jobs: TableJobs) -> Iterator[SourceRow]:
    """Check template and columns now, and return the rows."""
    from fleet.bulk.reading.templates import check_columns, read_template

    template = read_template(jobs.template)
    if table.columns is not None:
        check_columns(template, table.columns, path)
        if jobs.id_column is not None and jobs.id_column not in table.columns:
            raise ConfigError("--id-column", f"{jobs.id_column} is none of the columns {', '.join(table.columns)}")
    id_columns = ID_COLUMNS if jobs.id_column is None else (jobs.id_column,)
    return (_job(row, template, jobs, id_columns) for row in table.rows({*template.variables, *id_columns}))


def _job(row: TableRow, template: RowTemplate, jobs: TableJobs, id_columns: tuple[str, ...]) -> SourceRow:
    named = next((value for name in id_columns if (value := row.values.get(name)) not in (None, "")), None)
    custom_id = default_custom_id(row.number) if named is None else str(named)
    if row.problem is not None:
        return SourceRow(row.number, row.start, b"", custom_id, row.problem)
    try:
        request = {**jobs.request, "messages": template.messages(row.values)}
    except InvalidJob as problem:
        return SourceRow(row.number, row.start, b"", custom_id, problem)
    line = json.dumps({"custom_id": custom_id, "task": jobs.task, "request": request}, ensure_ascii=False)
    # Half a surrogate pair stays as JSON escapes it, and is refused where the line is read.
    return SourceRow(row.number, row.start, line.encode(errors="backslashreplace"), custom_id)


def _joined(rows: Iterable[SourceRow]) -> Iterator[SourcePiece]:
    held: list[SourceRow] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.data) + 1
        if size >= PIECE_BYTES:
            yield _piece(held)
            held, size = [], 0
    yield _piece(held)


def _piece(rows: list[SourceRow]) -> SourcePiece:
    return SourcePiece(b"".join(row.data + b"\n" for row in rows if row.data), tuple(rows))
