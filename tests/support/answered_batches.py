"""What the runner of batches leaves behind, without a runner: rows of output, counts and a status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fleet.model.batch import Batch, BatchStatus, Purpose, RowCount, errors_id, output_id
from fleet.ports import BatchStore, FileStore


def answer(line: int, custom_id: str, text: str = "hello", target: str = "llama-8b") -> dict[str, Any]:
    body = {
        "model": target,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "fleet": {"target": target, "model": f"invented/{target}", "confidence": 0.9, "cost_usd": 0.001},
    }
    return {
        "id": "x",
        "custom_id": custom_id,
        "line": line,
        "response": {"status_code": 200, "body": body},
        "error": None,
    }


def failure(line: int, custom_id: str, code: str = "failed") -> dict[str, Any]:
    error = {"code": code, "message": "every target failed", "param": None}
    return {"id": "x", "custom_id": custom_id, "line": line, "response": None, "error": error}


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def leave(
    files: FileStore,
    batches: BatchStore,
    batch_id: str,
    rows: Sequence[dict[str, Any]],
    status: BatchStatus = BatchStatus.COMPLETED,
    total: int | None = None,
    outcomes: tuple[RowCount, ...] = (),
) -> Batch:
    """Write the rows as what came of the batch, and give it that status."""
    entry = await batches.get(batch_id)
    assert entry is not None
    batch, revision = entry
    good, bad = [row for row in rows if row["response"]], [row for row in rows if row["error"]]
    for found, file_id in ((good, output_id(batch_id)), (bad, errors_id(batch_id))):
        if found:
            await files.create(file_id, Purpose.BATCH_OUTPUT, file_id=file_id, batch_id=batch_id)
            segment = await files.write(file_id, lines(found), len(found))
            part = "output" if found is good else "errors"
            batch = replace(batch, **{part: (*getattr(batch, part), segment)})
    counts = {"completed": len(good), "failed": len(bad), "total": len(rows) if total is None else total}
    batch = replace(batch, status=status, cost_nano_usd=1_000_000 * len(good), outcomes=outcomes, **counts)
    assert await batches.update(batch, revision) is not None
    return batch
