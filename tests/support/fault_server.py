"""A provider on loopback that fails on demand: OpenAI, Groq and Anthropic formats over real HTTP.

It gives good answers unless told otherwise; each `script`ed behaviour is used up by one request, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote


class Manner(Enum):
    """The way a reply is delivered."""

    WHOLE = auto()
    CUT = auto()  # half of the body, then the connection is closed
    HELD = auto()  # nothing before `release()`


@dataclass(frozen=True, slots=True)
class Scripted:
    """One reply. Without a body it is a good answer in the format of the path, or with `echo` an error that quotes
    the whole request, its key included.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = Manner.WHOLE
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: Mapping[str, str]
    body: Any
    raw: bytes = b""


class FaultServer:
    """The provider. `received` holds every request; `abandoned` counts clients that left while their reply was held.

    `headers` go out with every reply; a scripted reply's own headers take precedence. It says that it has the `models`,
    and of the `unlisted` ones only when it is asked by name, as providers do of aliases.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.abandoned = 0
        self.answer = "Paris."
        self.headers: dict[str, str] = {}
        self.logprobs: list[dict[str, Any]] | None = None
        self.models: list[dict[str, Any]] = []
        self.unlisted: list[dict[str, Any]] = []
        self._script: deque[Scripted] = deque()
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FaultServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def base_urls(self) -> dict[str, str]:
        """The base URLs for `ProviderSettings`."""
        return {"openai": f"{self.url}/v1", "groq": self.url, "anthropic": self.url}

    def script(self, *replies: Scripted) -> None:
        self._script.extend(replies)

    def forget(self) -> None:
        """Discard the rest of the script and give good answers again."""
        self._script.clear()

    def release(self) -> None:
        """Let held replies go."""
        self._released.set()

    async def until(self, received: int = 0, abandoned: int = 0) -> None:
        """Wait for that many requests, and that many abandoned ones."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= received and self.abandoned >= abandoned)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Exchange one request and its reply; return whether the connection stays open."""
        request = await _read(reader)
        reply = self._script.popleft() if self._script else Scripted()
        reply = replace(reply, headers={**self.headers, **reply.headers})
        await self._note(request)
        if reply.manner is Manner.HELD and not await self._hold(reader):
            return False
        good = _echo(request) if reply.echo else self._good(request)
        if good is None and reply.status == 200:
            reply = replace(reply, status=404)
        writer.write(_encode(reply, good if reply.body is None else reply.body))
        await writer.drain()
        return reply.manner is not Manner.CUT

    async def _note(self, request: Received) -> None:
        async with self._changed:
            self.received.append(request)
            self._changed.notify_all()

    async def _hold(self, reader: asyncio.StreamReader) -> bool:
        """Hold the reply until it may go; return whether the client is still there then."""
        gone = asyncio.create_task(reader.read(1))
        let_go = asyncio.create_task(self._released.wait())
        done, pending = await asyncio.wait({gone, let_go}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)  # the next request is read by another task
        if gone not in done:
            return True
        async with self._changed:
            self.abandoned += 1
            self._changed.notify_all()
        return False

    def _good(self, request: Received) -> dict[str, Any] | None:
        if request.body is None:
            return self._described(request.path)
        model = request.body.get("model", "of-the-path")  # Bedrock's is in the path
        if request.path.endswith(("/v1/messages", "/invoke")):
            return anthropic_message(self.answer, model)
        return chat_completion(self.answer, model, self.logprobs if request.body.get("logprobs") else None)

    def _described(self, path: str) -> dict[str, Any] | None:
        """The list of models, or the one that the path names; None if there is none."""
        _, _, name = path.partition("/models")
        if not name:
            return {"object": "list", "data": self.models}
        named = (model for model in self.models + self.unlisted if model["id"] == unquote(name.removeprefix("/")))
        return next(named, None)


def _echo(request: Received) -> dict[str, Any]:
    words = f"refused: {dict(request.headers)} {json.dumps(request.body)}"
    return {"error": {"message": words, "type": words, "code": words, "param": words}, "message": words}


def chat_completion(answer: str, model: str, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer},
                "finish_reason": "stop",
                "logprobs": {"content": logprobs} if logprobs else None,
            }
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def anthropic_message(answer: str, model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split(" ")[1], headers, json.loads(body) if body else None, body)


def _encode(reply: Scripted, body: Any) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content)), **reply.headers}
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    sent = content[: len(content) // 2] if reply.manner is Manner.CUT else content
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + sent
