"""The batches of OpenAI, Groq and Anthropic over real HTTP, with their faults.

A batch ends once it was polled or listed more than `polls` times. `ends_as` says how, `row` what comes of each row;
`charged` counts, by `custom_id`, how often a row was run and so has to be paid.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fault_server import Scripted, _encode, anthropic_message, chat_completion

GOOD, BAD_REQUEST, SERVER_ERROR, EXPIRED, CANCELLED, MISSING, ODD = (
    "good", "400", "500", "expired", "cancelled", "missing", "odd",
)  # fmt: skip
WAYS = {"openai": "/v1", "groq": "/openai/v1", "anthropic": "/v1"}


@dataclass
class Batch:
    id: str
    rows: dict[str, Any]
    name: str | None
    made_at: float
    polled: int = 0
    cancelled: bool = False
    ran: bool = False


@dataclass
class BatchServer:
    """The provider. `fail` makes the requests whose path matches a pattern fail so many times, before or after."""

    polls: int = 1
    ends_as: str = "completed"
    row: Callable[[str], str] = lambda custom_id: GOOD
    refusal: str | None = None
    lost_files: bool = False
    fail: dict[str, list[int]] = field(default_factory=dict)
    fail_after: dict[str, list[int]] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    charged: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    now: Callable[[], float] = time.time

    async def __aenter__(self) -> BatchServer:
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.base_urls = {"openai": f"{self.url}/v1", "groq": self.url, "anthropic": self.url}
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, found = self._answered(method, target, body)
                writer.write(_encode(Scripted(status), found))
                await writer.drain()
        writer.close()

    def _answered(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        asked = f"{method} {target}"
        self.asked.append(asked)
        if (status := self._fault(self.fail, asked)) is not None:
            return status, {"error": {"message": "no", "type": "invented"}}
        found = self._route(method, re.sub(r"^(/openai)?/v1", "", target), body)
        if (status := self._fault(self.fail_after, asked)) is not None:
            return status, {"error": {"message": "no", "type": "invented"}}
        return (200, found) if found is not None else (404, {"error": {"message": "No such thing", "type": "invented"}})

    @staticmethod
    def _fault(faults: Mapping[str, list[int]], asked: str) -> int | None:
        for pattern, statuses in faults.items():
            if statuses and re.search(pattern, asked):
                return statuses.pop(0)
        return None

    def _route(self, method: str, path: str, body: bytes) -> Any:
        parts = path.partition("?")[0].strip("/").split("/")
        match method, parts:
            case "POST", ["files"]:
                file_id = f"file-{len(self.files)}"
                [content] = re.findall(rb'filename="[^"]+"\r\n.*?\r\n\r\n(.*?)\r\n--', body, re.S)
                self.files[file_id] = content
                return {"id": file_id, "object": "file"}
            case "GET", ["files", file_id, "content"]:
                return self._file(file_id)
            case "POST", ["batches"]:
                return self._openai(self._made(*_openai_rows(json.loads(body), self.files)))
            case "GET", ["batches"]:
                newest = [self._openai(each) for each in self._newest()]
                return {"object": "list", "data": newest, "has_more": False}
            case "POST", ["messages", "batches"]:
                rows = {each["custom_id"]: each["params"] for each in json.loads(body)["requests"]}
                return self._anthropic(self._made(rows, None))
            case "GET", ["messages", "batches"]:
                newest = [self._anthropic(each) for each in self._newest()]
                return {"data": newest, "has_more": False}
        return self._of_a_batch(method, parts)

    def _of_a_batch(self, method: str, parts: list[str]) -> Any:
        is_anthropic = parts[0] == "messages"
        batch = self.batches.get(parts[2 if is_anthropic else 1])
        if batch is None:
            return None
        if parts[-1] == "results":
            return None if self.lost_files else self._results(batch)
        if parts[-1] == "cancel":
            batch.cancelled = True
        self._look_at(batch)
        return self._anthropic(batch) if is_anthropic else self._openai(batch)

    def _made(self, rows: dict[str, Any], name: str | None) -> Batch:
        batch = Batch(f"batch-{len(self.batches)}", rows, name, self.now())
        self.batches[batch.id] = batch
        return batch

    def _look_at(self, batch: Batch) -> None:
        batch.polled += 1
        if not batch.ran and (batch.polled > self.polls or batch.cancelled):
            self._run(batch)

    def _newest(self) -> list[Batch]:
        for batch in self.batches.values():
            self._look_at(batch)
        return list(reversed(self.batches.values()))

    def _run(self, batch: Batch) -> None:
        batch.ran = True
        if self.refusal is None:
            self.charged.update(each for each in batch.rows if self.row(each) in (GOOD, MISSING, ODD))

    def _openai(self, batch: Batch) -> dict[str, Any]:
        ended = "failed" if self.refusal else "cancelled" if batch.cancelled else self.ends_as
        status = ended if batch.ran else "in_progress"
        errors = {"object": "list", "data": [{"code": self.refusal, "message": "no"}]} if status == "failed" else None
        has_files = status in ("completed", "expired", "cancelled")
        output, error = (f"{kind}-{batch.id}" if has_files else None for kind in ("output", "error"))
        return {
            "id": batch.id, "object": "batch", "status": status, "errors": errors, "created_at": int(batch.made_at),
            "metadata": {"fleet_batch": batch.name}, "output_file_id": output, "error_file_id": error,
        }  # fmt: skip

    def _file(self, file_id: str) -> bytes | None:
        kind, _, batch_id = file_id.partition("-")
        if self.lost_files or batch_id not in self.batches:
            return None
        rows = self.batches[batch_id].rows
        wanted = [each for each in rows if (self.row(each) in (GOOD, ODD)) == (kind == "output")]
        return b"".join(_openai_line(each, self.row(each), rows[each]) for each in wanted)

    def _anthropic(self, batch: Batch) -> dict[str, Any]:
        running = "canceling" if batch.cancelled else "in_progress" if self.ends_as == "completed" else self.ends_as
        return {
            "id": batch.id, "type": "message_batch", "processing_status": "ended" if batch.ran else running,
            "created_at": datetime.fromtimestamp(batch.made_at, UTC).isoformat(),
            "request_counts": {"processing": 0 if batch.ran else len(batch.rows), "succeeded": 0 if not batch.ran else
                               len(batch.rows), "errored": 0, "canceled": 0, "expired": 0},
        }  # fmt: skip

    def _results(self, batch: Batch) -> bytes | None:
        found = (_anthropic_line(each, self.row(each), batch.rows[each]) for each in batch.rows)
        return b"".join(found) if batch.ran else None


def _openai_rows(wanted: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[dict[str, Any], str]:
    assert (wanted["endpoint"], wanted["completion_window"]) == ("/v1/chat/completions", "24h")
    rows = [json.loads(line) for line in files[wanted["input_file_id"]].splitlines()]
    assert all(row["method"] == "POST" and row["url"] == "/v1/chat/completions" for row in rows)
    return {row["custom_id"]: row["body"] for row in rows}, wanted["metadata"]["fleet_batch"]


def _openai_line(custom_id: str, kind: str, body: Mapping[str, Any]) -> bytes:
    line: dict[str, Any] = {"id": "batch_req_1", "custom_id": custom_id, "response": None, "error": None}
    match kind:
        case "missing":
            return b""
        case "odd":
            return b"{half a line\n"
        case "good":
            line["response"] = {"status_code": 200, "body": chat_completion(_said(body), body["model"])}
        case "expired" | "cancelled":
            line["error"] = {"code": f"batch_{kind}", "message": "This request could not be executed."}
        case status:
            line["response"] = {"status_code": int(status), "body": {"error": {"message": "no", "type": "invented"}}}
    return json.dumps(line).encode() + b"\n"


def _anthropic_line(custom_id: str, kind: str, body: Mapping[str, Any]) -> bytes:
    result: dict[str, Any]
    match kind:
        case "missing":
            return b""
        case "odd":
            return b"{half a line\n"
        case "good":
            result = {"type": "succeeded", "message": anthropic_message(_said(body), body["model"])}
        case "expired" | "cancelled":
            result = {"type": {"cancelled": "canceled"}.get(kind, kind)}
        case status:
            word = {"400": "invalid_request_error"}.get(status, "api_error")
            result = {"type": "errored", "error": {"type": "error", "error": {"type": word, "message": "no"}}}
    return json.dumps({"custom_id": custom_id, "result": result}).encode() + b"\n"


def _said(body: Mapping[str, Any]) -> str:
    """Return an answer that shows which row it belongs to."""
    content = body["messages"][-1]["content"]
    return f"re: {content if isinstance(content, str) else content[0]['text']}"
