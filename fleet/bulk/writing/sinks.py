"""Writes rows of output one at a time: as lines of OpenAI's batch format, or as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from fleet.bulk.writing.ordering import line_of

GROUP_ROWS = 10_000
GROUP_BYTES = 32 * 1024 * 1024
"""Maximum size of a row group, so that whoever reads the file needs little memory too."""

COLUMNS = {
    "custom_id": "string",
    "line": "int64",
    "content": "string",
    "tool_calls": "string",
    "finish_reason": "string",
    "error_code": "string",
    "error_message": "string",
    "model": "string",
    "target": "string",
    "confidence": "float64",
    "cost_usd": "float64",
    "input_tokens": "int64",
    "output_tokens": "int64",
}
"""The columns of a Parquet file and their types; `tool_calls` is JSON."""


class OutputFormat(StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"


class RowSink(Protocol):
    def add(self, row: bytes) -> None:
        """Write a row, which is a line of OpenAI's batch output format without its line feed. Raises: OSError."""


@contextmanager
def open_sink(path: Path, form: OutputFormat) -> Iterator[RowSink]:
    """Open a file to write rows to. Raises: OSError."""
    if form is OutputFormat.JSONL:
        with path.open("wb") as file:
            yield JsonlSink(file)
        return
    sink = ParquetSink(path)
    try:
        yield sink
    finally:
        sink.close()


class JsonlSink:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, row: bytes) -> None:
        self._file.write(row + b"\n")


class ParquetSink:
    """Writes groups of rows; a reader can open the file once it is closed."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        self._table = pa.Table
        self._schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        self._writer = ParquetWriter(path, self._schema)
        self._held: list[dict[str, Any]] = []
        self._held_bytes = 0

    def add(self, row: bytes) -> None:
        self._held.append(columns_of(json.loads(row)))
        self._held_bytes += len(row)
        if len(self._held) == GROUP_ROWS or self._held_bytes > GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        try:
            if self._held:
                self._write_group()
        finally:
            self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(self._table.from_pylist(self._held, self._schema))
        self._held, self._held_bytes = [], 0


def columns_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of output as values of the columns; None where it has none."""
    body, error = (row["response"] or {}).get("body") or {}, row["error"] or {}
    choice = (body.get("choices") or [{}])[0]
    message, usage = choice.get("message") or {}, body.get("usage") or {}
    account = body.get("fleet") or error.get("fleet") or {}
    calls = message.get("tool_calls")
    return {
        "custom_id": row["custom_id"],
        "line": line_of(row),
        "content": message.get("content"),
        "tool_calls": json.dumps(calls, ensure_ascii=False) if calls else None,
        "finish_reason": choice.get("finish_reason"),
        "error_code": error.get("code"),
        "error_message": error.get("message"),
        "model": account.get("model"),
        "target": account.get("target"),
        "confidence": account.get("confidence"),
        "cost_usd": account.get("cost_usd"),
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
    }
