"""nats-py's client, made so that no message can end its reading.

Publishers choose the bytes of subjects, reply subjects and headers, and the server passes on any but
a blank. nats-py 2.16 splits a control line at more blanks than the server does, takes all of it for
UTF-8, and ends its reading task without a word where that fails; the connection then looks alive.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, AWAITING_MSG_PAYLOAD, Parser
from pydantic_core import from_json

CRLF = b"\r\n"

_log = logging.getLogger(__name__)


class TolerantParser(Parser):  # type: ignore[misc]  # nats-py is Any to mypy
    """Splits control lines at blanks and tabs only: no other byte can be missing from a subject."""

    async def parse(self, data: bytes = b"") -> None:
        """Take in what came and hand on what is whole. Raises ProtocolError for what no server sends."""
        self.buf.extend(data)
        while self.buf:
            whole = await (self._message() if self.state == AWAITING_MSG_PAYLOAD else self._control_line())
            if not whole:
                return

    async def _control_line(self) -> bool:
        end = self.buf.find(CRLF)
        if end < 0:
            return False
        operation, _, rest = bytes(self.buf[:end]).replace(b"\t", b" ").partition(b" ")
        del self.buf[: end + len(CRLF)]
        await self._dispatch(operation, rest)
        return True

    async def _dispatch(self, operation: bytes, rest: bytes) -> None:
        match operation:
            case b"MSG" | b"HMSG":
                self._expect(operation == b"HMSG", rest)
            case b"PING":
                await self.nc._process_ping()
            case b"PONG":
                await self.nc._process_pong()
            case b"INFO":
                await self.nc._process_info(from_json(rest))
            case b"-ERR":
                await self.nc._process_err(_text(rest).lower())
            case b"+OK":
                pass
            case _:
                raise ProtocolError(f"nats: unknown operation {operation[:20]!r}")

    def _expect(self, has_headers: bool, rest: bytes) -> None:
        """<subject> <sid> [<reply>] [<header bytes>] <all bytes>"""
        sizes = 2 if has_headers else 1
        words = [word for word in rest.split(b" ") if word]
        if len(words) not in (2 + sizes, 3 + sizes):
            raise ProtocolError("nats: malformed MSG")
        reply = words[2] if len(words) == 3 + sizes else b""
        try:
            self.msg_arg = {"subject": words[0], "sid": int(words[1]), "reply": reply}
            self.needed = int(words[-1])
            self.header_needed = int(words[-2]) if has_headers else 0
        except ValueError as error:
            raise ProtocolError("nats: malformed MSG") from error
        self.state = AWAITING_MSG_PAYLOAD

    async def _message(self) -> bool:
        if len(self.buf) < self.needed + len(CRLF):
            return False
        headers = bytes(self.buf[: self.header_needed])
        payload = bytes(self.buf[self.header_needed : self.needed])
        del self.buf[: self.needed + len(CRLF)]
        self.header_needed = 0
        self.state = AWAITING_CONTROL_LINE
        about = self.msg_arg
        await self.nc._process_msg(about["sid"], about["subject"], about["reply"], payload, headers)
        return True


class TolerantClient(Client):  # type: ignore[misc]  # nats-py is Any to mypy
    """Reads on whatever comes; where its reading ends all the same, it connects anew."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = TolerantParser(self)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            # A status line that no server has written.
            return None
        return parsed

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return self.msg_class(
            subject=_text(subject), reply=_text(reply), data=data, headers=headers, _client=self, _sid=sid
        )

    async def _read_loop(self) -> None:
        await super()._read_loop()
        task = asyncio.current_task()
        if self.is_connected and task is not None and not task.cancelling():
            _log.error("NATS: nobody reads the connection any more; connecting anew")
            await self._process_op_err(ProtocolError("nats: the reading task ended"))


def _text(raw: bytes) -> str:
    """The same bytes always give the same text, and text that is no valid name stays none."""
    return raw.decode(errors="backslashreplace")
