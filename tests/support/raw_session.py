"""A logged-in connection in NATS' own words: everything comes in the order in which the server said it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from types import TracebackType

from patience import PATIENCE_SECONDS
from raw_nats import pub

from queues.jetstream.client.login import Login

INBOX = "_INBOX_{user}.answers"

LINE_ENDS = re.compile(r"[\r\n]+")


class RawSession:
    """The connection; use it as an async context manager."""

    def __init__(self, url: str, login: Login) -> None:
        self._host, port = url.removeprefix("nats://").split(":")
        self._port = int(port)
        self._login = login
        self.inbox = INBOX.format(user=login.user)

    async def __aenter__(self) -> RawSession:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        if self._login.user is not None:
            options |= {"user": self._login.user, "pass": self._login.password}
        await self._line()
        said = await self.say(f"CONNECT {json.dumps(options)}", f"SUB {self.inbox} 1")
        assert said == [], said
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def say(self, *commands: str | bytes) -> list[str]:
        """Return everything the server says before it answers the PING that follows the commands."""
        self._write(*commands, "PING")
        return await self._until(lambda line: line == "PONG")

    async def listen(self, subject: str, sid: int) -> str:
        """Subscribe; return the server's refusal, or an empty string."""
        return "; ".join(await self.say(f"SUB {subject} {sid}"))

    async def publish(self, subject: str, body: bytes = b"{}", reply: str = "", **headers: str) -> str:
        """Publish without waiting for an answer; return the server's refusal, or an empty string."""
        return "; ".join(await self.say(_message(subject, body, reply, headers)))

    async def ask(self, subject: str, body: bytes = b"{}", **headers: str) -> str:
        """Send a request; return the answer or the refusal."""
        self._write(_message(subject, body, self.inbox, headers))
        said = await self._until(lambda line: line.startswith(("-ERR", "MSG", "HMSG")))
        return said[-1]

    async def heard(self) -> str:
        """Return the next message to any subscription, as <subject> <body>."""
        said = await self._until(lambda line: line.startswith(("MSG", "HMSG")))
        return said[-1]

    def _write(self, *commands: str | bytes) -> None:
        parts = (command if isinstance(command, bytes) else f"{command}\r\n".encode() for command in commands)
        self._writer.write(b"".join(parts))

    async def _until(self, is_last: Callable[[str], bool]) -> list[str]:
        said: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                line = await self._line()
                if line.startswith("INFO"):
                    continue
                if line == "PING":
                    self._write("PONG")
                    continue
                said.append(line)
                if is_last(line):
                    return said[:-1] if line == "PONG" else said

    async def _line(self) -> str:
        line = (await self._reader.readline()).decode().rstrip()
        assert line or not self._reader.at_eof(), "the server hung up"
        if not line.startswith(("MSG ", "HMSG ")):
            return line
        size = int(line.rsplit(" ", 1)[1])
        body = (await self._reader.readexactly(size + 2))[:-2].decode(errors="replace")
        operation, subject, *_ = line.split(" ")
        return f"{operation} {subject} {LINE_ENDS.sub(' | ', body)}"


def _message(subject: str, body: bytes, reply: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    block = f"NATS/1.0\r\n{lines}\r\n".encode() if headers else b""
    return pub(subject.encode(), body, block, reply.encode())
