"""Reads rows of tables one at a time: CSV, Parquet, and JSON objects by the line."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from fleet.bulk.lines import invalid_line, json_object
from fleet.bulk.reading.splitting import BOM, MAX_LINE_BYTES, Line, lines_of
from fleet.model.errors import FleetError, InvalidJob

DELIMITERS = (",", ";", "\t")

MAX_BATCH_ROWS = 1000
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""What is decoded of a Parquet file at once, as far as its row groups tell; beside it lies a part of one row group."""

_NO_NAME = re.compile(r"\W+")


class UnreadableTable(FleetError):
    """A file whose rows cannot be told apart, from the place on that it names."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row by its line, counted from 1, and the offset of its first byte, which is 0 in a Parquet file.

    `problem` is why it has no values.
    """

    number: int
    start: int
    values: Mapping[str, Any]
    problem: InvalidJob | None = None


class Table(Protocol):
    """Rows with named columns."""

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns; None where each row has its own."""

    def rows(self, wanted: Collection[str]) -> Iterator[TableRow]:
        """Yield every row with at least the wanted columns. Raises: UnreadableTable if the rest cannot be read."""


class JsonTable:
    """JSON objects, one a line."""

    columns = None

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def rows(self, wanted: Collection[str]) -> Iterator[TableRow]:
        for line in lines_of(self._file):
            if not line.is_blank:
                yield _json_row(line)


def _json_row(line: Line) -> TableRow:
    try:
        return TableRow(line.number, line.start, json_object(line.whole()))
    except InvalidJob as problem:
        return TableRow(line.number, line.start, {}, problem)


class CsvTable:
    """CSV in UTF-8 with a header. Of comma, semicolon and tab, the one most frequent in the header separates."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._texts = _CsvTexts(path, lines_of(file))
        csv.field_size_limit(max(2 * MAX_LINE_BYTES, csv.field_size_limit()))
        header = next(self._texts, "")
        if self._texts.problem is not None:
            raise self._texts.unreadable(self._texts.problem.rule)
        delimiter = max(DELIMITERS, key=header.count)
        self.columns = _names(path, next(csv.reader([header], delimiter=delimiter), []))
        self._reader = csv.reader(self._texts, strict=True, delimiter=delimiter)

    def rows(self, wanted: Collection[str]) -> Iterator[TableRow]:
        while True:
            self._texts.begin_row()
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                raise self._texts.unreadable(str(error)) from None
            if cells is None:
                return
            if cells:
                yield self._row(cells)

    def _row(self, cells: list[str]) -> TableRow:
        number, start = self._texts.number, self._texts.start
        if self._texts.problem is not None:
            return TableRow(number, start, {}, self._texts.problem)
        if len(cells) != len(self.columns):
            rule = f"must have {len(self.columns)} fields, like the header, and has {len(cells)}"
            return TableRow(number, start, {}, invalid_line(rule))
        return TableRow(number, start, dict(zip(self.columns, cells, strict=True)))


class _CsvTexts:
    """The lines of a file as text; a row that is quoted over several of them is bounded as one line is."""

    def __init__(self, path: Path, lines: Iterator[Line]) -> None:
        self._path = path
        self._lines = lines
        self.begin_row()

    def begin_row(self) -> None:
        self.number = self.start = self._bytes = 0
        self.problem: InvalidJob | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if not self.number:
            self.number, self.start = line.number, line.start
        self._bytes += len(line.data) + 1
        if not line.is_whole or self._bytes > MAX_LINE_BYTES:
            raise self.unreadable(f"must be at most {MAX_LINE_BYTES:,} bytes; perhaps a quotation mark is missing")
        return self._text(line)

    def unreadable(self, rule: str) -> UnreadableTable:
        return UnreadableTable(f"{self._path}, line {self.number}, byte {self.start}: {rule}")

    def _text(self, line: Line) -> str:
        data = line.data.removeprefix(BOM) if line.number == 1 else line.data
        try:
            return data.decode() + "\n"
        except UnicodeDecodeError as error:
            offset = line.start - self.start + len(line.data) - len(data) + error.start
            rule = f"must be UTF-8, and 0x{data[error.start]:02x} at byte {offset} of it is not"
            self.problem = invalid_line(rule)
            return data.decode(errors="replace") + "\n"


def _names(path: Path, header: Sequence[str]) -> list[str]:
    """Return the columns under names that a template can use. Raises: UnreadableTable."""
    names = [_NO_NAME.sub("_", name.strip()) for name in header]
    if not any(names):
        raise UnreadableTable(f"{path}: must begin with a line of column names")
    if "" in names or len(set(names)) != len(names):
        raise UnreadableTable(f"{path}: must have columns with names of their own, and has {', '.join(header)}")
    return names


class ParquetTable:
    """A Parquet file, read by batches of rows of the wanted columns alone."""

    def __init__(self, path: Path) -> None:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        self._path = path
        self._broken = ArrowException
        try:
            self._file = ParquetFile(path, pre_buffer=False)
        except ArrowException as error:
            raise UnreadableTable(f"{path}: must be a Parquet file ({_first_line(error)})") from None
        self._stored = self._file.schema_arrow.names
        self.columns = _names(path, self._stored)

    @property
    def max_group_rows(self) -> int:
        """The size of the largest row group, which the memory needed depends on."""
        return max((group.num_rows for group in self._groups()), default=0)

    def _groups(self) -> Iterator[Any]:
        metadata = self._file.metadata
        return (metadata.row_group(each) for each in range(metadata.num_row_groups))

    def _batch_rows(self) -> int:
        row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in self._groups()), default=1)
        return max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES // max(1, row_bytes)))

    def rows(self, wanted: Collection[str]) -> Iterator[TableRow]:
        names = {stored: name for stored, name in zip(self._stored, self.columns, strict=True) if name in wanted}
        number = 0
        try:
            for batch in self._file.iter_batches(self._batch_rows(), columns=list(names), use_threads=False):
                for values in batch.to_pylist() if names else [{}] * batch.num_rows:
                    number += 1
                    yield TableRow(number, 0, {names[stored]: _value(value) for stored, value in values.items()})
        except self._broken as error:
            raise UnreadableTable(f"{self._path}, row {number + 1}: cannot be read ({_first_line(error)})") from None

    def close(self) -> None:
        self._file.close()


def _value(value: Any) -> Any:
    """Return the value; a NaN is none."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]
