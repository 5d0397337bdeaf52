"""The blocks in which the rows of a batch are read: every row once, from whatever place reading goes on."""

from __future__ import annotations

import pytest

from fleet.batches import blocks
from fleet.batches.blocks import Block, blocks_of
from fleet.bulk.reading.uniqueness import LineSet
from fleet.model.batch import START, Place
from queues.batches import MemoryShelf, TenantFiles
from queues.memory import MemoryBroker

CONTENT = b'{"n": 0}\n\n{"n": 1}\r\n{"n": 2}\n{"n": 3}\n   \n{"n": 4}'


async def _blocks(content: bytes, place: Place = START, only: LineSet | None = None) -> list[Block]:
    files = TenantFiles(MemoryShelf(MemoryBroker()), "acme")
    file = await files.create("rows.jsonl")
    await files.append(file.id, content)
    return [block async for block in blocks_of(files, file.id, place, only)]


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"\n", CONTENT + b"\n\n \n"])
@pytest.mark.parametrize("block_rows", [1, 2, 5, 100])
async def test_reading_goes_on_behind_every_block_with_the_rows_that_follow(
    monkeypatch: pytest.MonkeyPatch, content: bytes, block_rows: int
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block_rows)
    found = await _blocks(content)

    rows = [row for block in found for row in block.rows]
    assert [(row.row, row.source.number) for row in rows] == [(0, 1), (1, 3), (2, 4), (3, 5), (4, 7)]
    for number, block in enumerate(found, 1):
        rest = [row for later in await _blocks(content, block.after) for row in later.rows]
        assert rest == [row for later in found[number:] for row in later.rows]


async def test_nothing_is_left_behind_the_last_of_the_lines_asked_for() -> None:
    only = LineSet()
    only.add(3)
    [block] = await _blocks(CONTENT, only=only)
    assert [row.row for row in block.rows] == [0]
    assert await _blocks(CONTENT, block.after, only) == []
