"""OpenAI, Groq and Anthropic on loopback, counting what each would charge for: every call it answers with 200.

A prompt starts with the id of its job, so that charges are counted by job and model, whoever sends them and whether
or not anybody is left to read the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import defaultdict
from typing import Any

LATENCY_SECONDS = (0.01, 0.05)
ERROR_SHARE = 0.02


class Provider:
    """The pretend providers, an async context manager; `charges` are times (monotonic) of calls, by job and model."""

    def __init__(
        self, seed: int, latency_seconds: tuple[float, float] = LATENCY_SECONDS, error_share: float = ERROR_SHARE
    ) -> None:
        self._latency_seconds, self._error_share = latency_seconds, error_share
        self.charges: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._rng = random.Random(seed)
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Provider:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
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
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                await self._exchange(reader, writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path, body = await _read(reader)
        if not body:  # as a proxy asks for the list of models
            await _reply(writer, 404, {"error": {"message": "only calls are answered"}})
            return
        if self._rng.random() < self._error_share:
            await _reply(writer, 500, {"error": {"message": "invented"}})
            return
        model = str(body["model"])
        self.charges[_prompt(body).split()[0], model].append(time.monotonic())
        await asyncio.sleep(self._rng.uniform(*self._latency_seconds))
        await _reply(writer, 200, _message(model) if path.endswith("/messages") else _completion(model))


async def _read(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    return head[0].split(" ")[1], json.loads(content or b"{}")


def _prompt(body: dict[str, Any]) -> str:
    content = body["messages"][0]["content"]
    return str(content if isinstance(content, str) else content[0]["text"])


async def _reply(writer: asyncio.StreamWriter, status: int, document: dict[str, Any]) -> None:
    content = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Invented\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    await writer.drain()


def _completion(model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "positive"}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}


def _message(model: str) -> dict[str, Any]:
    content = [{"type": "text", "text": "positive"}]
    usage = {"input_tokens": 11, "output_tokens": 7}
    head = {"id": "m", "type": "message", "role": "assistant", "model": model}
    return {**head, "content": content, "stop_reason": "end_turn", "usage": usage}
