"""A file is stored as it is while it is checked, and what came of its batch is fetched in any order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from answered_batches import answer, failure, leave

from fleet.bulk.fetching import RowOrder, fetch
from fleet.bulk.reading.checking import RowChecker
from fleet.bulk.reading.sources import TableJobs, open_source
from fleet.bulk.reading.tables import UnreadableTable
from fleet.bulk.uploading import UPLOAD_BYTES, upload
from fleet.bulk.writing.sinks import OutputFormat
from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import QueueUnavailable
from fleet.ports import FileStore
from queues.batches import MemoryShelf, TenantBatches, TenantFiles
from queues.memory import MemoryBroker

HELLO = [{"role": "user", "content": "hello"}]
BATCH = f"batch_{'a' * 24}"


@pytest.fixture
def shelf() -> MemoryShelf:
    return MemoryShelf(MemoryBroker())


@pytest.fixture
def files(shelf: MemoryShelf) -> TenantFiles:
    return TenantFiles(shelf, "acme")


@pytest.fixture
def batches(shelf: MemoryShelf) -> TenantBatches:
    return TenantBatches(shelf, "acme", poll_seconds=0.02)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def job(custom_id: str) -> bytes:
    return json.dumps({"task": "chat", "messages": HELLO, "custom_id": custom_id}).encode()


async def stored(files: FileStore, file_id: str) -> bytes:
    return b"".join([piece async for piece in files.read(file_id)])


async def test_a_file_is_stored_byte_by_byte_however_long_it_is(files: TenantFiles, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"\n".join(job(f"row-{number}") for number in range(30_000)) + b"\n\n\xff")
    told: list[int] = []
    with RowChecker() as checker, open_source(path) as pieces:
        file = await upload(files, path.name, pieces, checker, lambda: 0.0, told.append)
    assert path.stat().st_size > UPLOAD_BYTES
    assert await stored(files, file.id) == path.read_bytes()
    assert (file.closed, file.filename, file.rows, told[-1]) == (True, "jobs.jsonl", 30_001, 30_001)
    [problem] = checker.finish().problems
    assert (problem.line, problem.byte) == (30_002, path.stat().st_size - 1)


async def test_rows_of_a_table_are_stored_as_lines(files: TenantFiles, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,name\na,Ada\nb,\n")
    (tmp_path / "nudge.j2").write_text("Thank {{ name }}.")
    with (
        RowChecker() as checker,
        open_source(tmp_path / "people.csv", TableJobs(tmp_path / "nudge.j2")) as pieces,
    ):
        file = await upload(files, "people.csv", pieces, checker, lambda: 0.0)
    [line] = (await stored(files, file.id)).splitlines()
    assert (json.loads(line)["custom_id"], file.rows) == ("a", 1)
    assert [problem.custom_id for problem in checker.finish().problems] == ["b"]


async def test_a_source_that_breaks_in_the_middle_leaves_no_file(files: TenantFiles, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text('id,name\na,Ada\nb,"Bo\n')
    (tmp_path / "nudge.j2").write_text("Thank {{ name }}.")
    with (
        RowChecker() as checker,
        open_source(tmp_path / "people.csv", TableJobs(tmp_path / "nudge.j2")) as pieces,
        pytest.raises(UnreadableTable, match="line 3"),
    ):
        await upload(files, "people.csv", pieces, checker, lambda: 0.0)
    assert await files.list() == []


async def test_a_file_that_is_removed_meanwhile_is_an_outage(files: TenantFiles, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(job("a"))

    async def remove() -> None:
        [file] = await files.list()
        await files.delete(file.id)

    class Removing(TenantFiles):
        async def append(self, *args: Any) -> Any:
            await remove()
            return await super().append(*args)

    removing = Removing(files._shelf, "acme")
    with RowChecker() as checker, open_source(path) as pieces, pytest.raises(QueueUnavailable, match="was removed"):
        await upload(removing, path.name, pieces, checker, lambda: 0.0)


@pytest.fixture
async def batch(files: TenantFiles, batches: TenantBatches) -> AsyncIterator[Batch]:
    made = Batch(BATCH, "acme", "/v1/chat/completions", f"file-{'b' * 24}", 60.0, 0.0)
    assert await batches.create(made)
    rows = [answer(3, "c"), failure(1, "a"), answer(2, "b")]
    yield await leave(files, batches, BATCH, rows, BatchStatus.IN_PROGRESS, total=5)


@pytest.mark.parametrize(("order", "lines"), [(RowOrder.FINISHED, [3, 2, 1]), (RowOrder.INPUT, [1, 2, 3])])
async def test_what_came_so_far_is_written_in_either_order(
    files: TenantFiles, batch: Batch, tmp_path: Path, order: RowOrder, lines: list[int]
) -> None:
    assert await fetch(files, batch, tmp_path / "out.jsonl", order, OutputFormat.JSONL) == 3
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["line"] for row in written] == lines
    assert names_in(tmp_path) == ["out.jsonl"]


async def test_an_outage_leaves_no_part(files: TenantFiles, batch: Batch, tmp_path: Path) -> None:
    class Away(TenantFiles):
        async def read(self, *args: Any) -> AsyncIterator[bytes]:
            async for piece in super().read(*args):
                yield piece[:10]
                raise QueueUnavailable("away")

    away = Away(files._shelf, "acme")
    with pytest.raises(QueueUnavailable):
        await fetch(away, batch, tmp_path / "out.parquet", RowOrder.INPUT, OutputFormat.PARQUET)
    assert names_in(tmp_path) == []
