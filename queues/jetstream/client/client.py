"""A nats-py client that survives malformed messages and reads and writes in batches.

Publishers choose the bytes of subjects, reply subjects and headers, and the server passes on any but
a blank. nats-py 2.16 splits a control line at more blanks than the server does, takes all of it for
UTF-8, and ends its reading task without a word if that fails; the connection then looks alive.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import WebSocketTransport
from nats.errors import ConnectionClosedError, Error, OutboundBufferLimitError, ProtocolError
from nats.protocol.parser import Parser
from pydantic_core import from_json

from fleet.logs import get_logger
from queues.jetstream.client.addresses import Address
from queues.jetstream.client.frames import CRLF, Arrival, headers_of, text_of

UNENCRYPTED = "nats: the server offers no TLS"
ENCRYPTED_SCHEMES = ("tls", "wss")

Taker = Callable[[Arrival], None]
"""A function called with each message as it is read, between two others: it must not take long."""

_REFUSED = re.compile(r"permissions violation for (?:publish|subscription) to \"(\S+)\"")

log = get_logger(__name__)


class PermissionRefused(Error):  # type: ignore[misc]  # nats-py is Any to mypy
    """Raised if the server does not let this login send to a subject. The server does not name the request."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"this login may not publish to {subject}")


class TolerantParser(Parser):  # type: ignore[misc]  # nats-py is Any to mypy
    """Splits control lines at blanks and tabs only: no other byte can be missing from a subject."""

    def reset(self) -> None:
        super().reset()
        self._wanted_bytes = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take in the bytes that came, and hand on the whole messages.

        Raises: ProtocolError for bytes that no server sends.
        """
        buffer = self.buf
        buffer.extend(data)
        if len(buffer) < self._wanted_bytes:  # a large message comes in many pieces
            return
        self._wanted_bytes, stream, at = 0, bytes(buffer), 0
        while (end := stream.find(CRLF, at)) >= 0:
            operation, _, rest = stream[at:end].replace(b"\t", b" ").partition(b" ")
            start = end + len(CRLF)
            if operation in (b"MSG", b"HMSG"):
                subject, sid, reply, head_size, size = _sizes(operation == b"HMSG", rest)
                if len(stream) < start + size + len(CRLF):
                    self._wanted_bytes = start + size + len(CRLF) - at
                    break
                body, at = start + head_size, start + size + len(CRLF)
                await self.nc._process_msg(sid, subject, reply, stream[body : start + size], stream[start:body])
                continue
            await self._dispatch(operation, rest)
            if self.buf is not buffer:  # the connection broke: the rest came over the old one
                return
            at = start
        del buffer[:at]

    async def _dispatch(self, operation: bytes, rest: bytes) -> None:
        match operation:
            case b"PING":
                await self.nc._process_ping()
            case b"PONG":
                await self.nc._process_pong()
            case b"INFO":
                await self.nc._process_info(from_json(rest))
            case b"-ERR":
                await self.nc._process_err(text_of(rest).lower())
            case b"+OK":
                pass
            case _:
                raise ProtocolError(f"nats: unknown operation {operation[:20]!r}")


def _sizes(has_headers: bool, rest: bytes) -> tuple[bytes, int, bytes, int, int]:
    """Parse <subject> <sid> [<reply>] [<header bytes>] <all bytes>.

    Raises: ProtocolError for anything else.
    """
    words = rest.split(b" ")
    if b"" in words:
        words = [word for word in words if word]
    sizes = 2 if has_headers else 1
    if len(words) not in (2 + sizes, 3 + sizes):
        raise ProtocolError("nats: malformed MSG")
    try:
        sid, head_size, size = int(words[1]), int(words[-2]) if has_headers else 0, int(words[-1])
    except ValueError as error:
        raise ProtocolError("nats: malformed MSG") from error
    if not 0 <= head_size <= size:
        raise ProtocolError("nats: malformed MSG")
    return words[0], sid, words[2] if len(words) == 3 + sizes else b"", head_size, size


def _is_encrypted(transport: Any) -> bool:
    """Return whether the bytes of this connection of nats-py's go through TLS."""
    if isinstance(transport, WebSocketTransport):
        return bool(transport._using_tls)
    return transport._io_writer.get_extra_info("ssl_object") is not None


def _nobody_cares(subject: str) -> bool:
    return False


class TolerantClient(Client):  # type: ignore[misc]  # nats-py is Any to mypy
    """Keeps reading whatever comes; if its reading or its reconnecting ends all the same, it connects again."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = TolerantParser(self)
        self._takers: dict[int, Taker] = {}
        self._asking: set[tuple[str, asyncio.Future[None]]] = set()
        self._wants_tls = False
        self.on_refused: Callable[[str], bool] = _nobody_cares
        """Takes each subject that this login may not use, in lower case; returns whether it was used here."""

    @staticmethod
    def _parse_server_uri(connect_url: str) -> Address:
        return Address(*Client._parse_server_uri(connect_url))

    def _setup_server_pool(self, connect_url: Any) -> None:
        super()._setup_server_pool(connect_url)
        # One encrypted address asks for TLS with every server, those that a server names in its greeting included.
        self._wants_tls = any(server.uri.scheme in ENCRYPTED_SCHEMES for server in self._server_pool)

    def _connect_command(self) -> bytes:
        """Return the greeting with the login. No password is sent in clear where TLS was asked for.

        Raises: Error if it was and the connection has none, whatever the server says of itself.
        """
        if (self._wants_tls or "tls" in self.options) and not _is_encrypted(self._transport):
            raise Error(UNENCRYPTED)
        command: bytes = super()._connect_command()
        return command

    async def hear(self, subject: str, taker: Taker) -> Subscription:
        """Subscribe without nats-py's queue and task per subscription: nothing is dropped, and nothing waits."""
        subscription = await self.subscribe(subject)
        # Nothing is read before this task yields.
        self._takers[subscription._id] = taker
        return subscription

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._takers.pop(sid, None)

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        try:
            return await super()._flush_pending(force_flush)
        except (OSError, RuntimeError) as error:  # what uvloop says of a transport that is closed already
            raise ConnectionClosedError from error

    async def write(self, commands: Sequence[bytes]) -> None:
        """Send whole commands, unchanged.

        Raises: nats-py's errors.
        """
        if self.is_closed:
            raise ConnectionClosedError
        size = sum(map(len, commands))
        if not self.is_connected and size + self._pending_data_size > self._max_pending_size:
            raise OutboundBufferLimitError
        self._pending.extend(commands)
        self._pending_data_size += size
        # The first caller wakes the flusher, which takes all that has come by then.
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def request(self, subject: str, *arguments: Any, **options: Any) -> Any:
        """Send a request as nats-py does, but fail at once if it is refused.

        Raises: PermissionRefused if the login may not send it.
        """
        waiting = (subject.lower(), asyncio.get_running_loop().create_future())
        self._asking.add(waiting)
        asked = asyncio.ensure_future(super().request(subject, *arguments, **options))
        try:
            await asyncio.wait((asked, waiting[1]), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise PermissionRefused(subject)
            return asked.result()
        finally:
            asked.cancel()
            self._asking.discard(waiting)

    async def _process_err(self, err_msg: str) -> None:
        """Handle an error, in lower case. A refusal that a caller waits for is told to that caller alone."""
        refusal = _REFUSED.search(err_msg)
        if refusal is None or not self._tell_refused(refusal[1]):
            await super()._process_err(err_msg)

    def _tell_refused(self, subject: str) -> bool:
        """Tell those who used the subject that it is refused; return whether there were any."""
        waiting = [refused for asked, refused in self._asking if asked == subject and not refused.done()]
        for refused in waiting:
            refused.set_result(None)
        return self.on_refused(subject) or bool(waiting)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        taker = self._takers.get(sid)
        if taker is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            taker(Arrival(subject, reply, data, headers))
        except Exception:  # one message must not end the reading of all
            log.exception("message_not_taken_in")

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        return headers_of(headers) if headers else None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return self.msg_class(
            subject=text_of(subject), reply=text_of(reply), data=data, headers=headers, _client=self, _sid=sid
        )

    async def _process_connect_init(self) -> None:
        # nats-py would do so itself, but asks for a state that it has left by then.
        self._ps.reset()
        await super()._process_connect_init()

    async def _read_loop(self) -> None:
        await super()._read_loop()
        task = asyncio.current_task()
        if self.is_connected and task is not None and not task.cancelling():
            log.error("connection_not_read")
            await self._process_op_err(ProtocolError("nats: the reading task ended"))

    @property
    def is_accepted(self) -> bool:
        """True once somebody has taken the connection, whether or not anything was said over it."""
        return getattr(self._transport, "_io_writer", None) is not None

    def drop(self) -> None:
        """Drop the connection at once. Closing it would wait for a server that reads nothing to read the rest."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def _attempt_reconnect(self) -> None:
        self.drop()
        # Its senders have been told that the connection broke. The next server may have another store, to which an
        # acknowledgement that comes late would speak of another message.
        self._pending.clear()
        self._pending_data_size = 0
        # nats-py gives up for ever, without a word, at an error it does not expect: uvloop raises RuntimeError where
        # the server has closed the connection between two writes of the greeting.
        while True:
            try:
                await super()._attempt_reconnect()
                return
            except Exception as error:
                log.warning("broker_not_reconnected", error=type(error).__name__)
            await asyncio.sleep(self.options["reconnect_time_wait"])
