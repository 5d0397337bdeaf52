"""Rows of output are written as lines or as columns, in the order of their lines if that is asked."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from answered_batches import answer, failure
from hypothesis import given
from hypothesis import strategies as st

from fleet.bulk.writing import sinks
from fleet.bulk.writing.ordering import InputOrder
from fleet.bulk.writing.sinks import OutputFormat, open_sink


def row(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


@given(st.lists(st.integers(1, 2**40), unique=True))
def test_rows_come_in_the_order_of_their_lines(numbers: list[int]) -> None:
    rows = [row({"line": number, "text": "a\u2028b"}) for number in numbers]
    with InputOrder(max_bytes=300) as ordered:
        for each in rows:
            ordered.add(each)
        assert list(ordered.rows()) == sorted(rows, key=lambda each: int(json.loads(each)["line"]))


def test_lines_are_written_as_they_are(tmp_path: Path) -> None:
    rows = [row(answer(1, "a")), row(failure(2, "b"))]
    with open_sink(tmp_path / "out.jsonl", OutputFormat.JSONL) as sink:
        for each in rows:
            sink.add(each)
    assert (tmp_path / "out.jsonl").read_bytes().splitlines() == rows


def test_columns_hold_the_answer_or_the_error(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    called = answer(3, "c")
    called["response"]["body"]["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": calls}
    with open_sink(path, OutputFormat.PARQUET) as sink:
        for each in (answer(1, "a", "hi"), failure(2, "b"), called):
            sink.add(row(each))
    first, second, third = pq.read_table(path).to_pylist()
    assert first == {
        "custom_id": "a",
        "line": 1,
        "content": "hi",
        "tool_calls": None,
        "finish_reason": "stop",
        "error_code": None,
        "error_message": None,
        "model": "invented/llama-8b",
        "target": "llama-8b",
        "confidence": 0.9,
        "cost_usd": 0.001,
        "input_tokens": 7,
        "output_tokens": 3,
    }
    assert (second["content"], second["error_code"], second["error_message"]) == (None, "failed", "every target failed")
    assert (third["content"], json.loads(third["tool_calls"])) == (None, calls)


def test_groups_of_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sinks, "GROUP_ROWS", 10)
    path = tmp_path / "out.parquet"
    with open_sink(path, OutputFormat.PARQUET) as sink:
        for number in range(1, 26):
            sink.add(row(answer(number, f"row-{number}")))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [10, 10, 5]
    assert pq.read_table(path)["line"].to_pylist() == list(range(1, 26))


def test_a_file_without_rows_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    with open_sink(tmp_path / "out.parquet", OutputFormat.PARQUET):
        pass
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_many_rows_take_little_memory(tmp_path: Path) -> None:
    each = row(answer(1, "a", "x" * 1000))
    tracemalloc.start()
    with InputOrder(tmp_path, max_bytes=300_000) as ordered:
        for _ in range(3_000):
            ordered.add(each)
        assert sum(1 for _ in ordered.rows()) == 3_000
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
