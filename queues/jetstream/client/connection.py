"""A NATS connection, and batches of requests on it.

nats-py waits for each reply in a task of its own; here a whole batch is written, its replies come to
one inbox, and one future resolves when the last is in. Everything in flight when the connection breaks
fails at once with `QueueUnavailable`: nobody can tell any more what the broker did, and every step
of the fleet may be repeated.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from fleet.interruption import raise_own
from fleet.logs import get_logger
from fleet.model.errors import LoginRefused, QueueUnavailable
from queues.jetstream.client.addresses import servers_in, without_password
from queues.jetstream.client.client import PermissionRefused, Taker, TolerantClient
from queues.jetstream.client.frames import Arrival, publication
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.client.unreachable import unreachable
from queues.wire.letters import HEADER_ROOM_BYTES, Message

DEFAULT_TIMEOUT_SECONDS = 5.0
"""Seconds that a healthy broker may take to answer. Read at each `connect`."""
BROKEN = "the connection to NATS broke"
OTHER_LOGIN = "log in as a user who may, or give this one the right"

log = get_logger(__name__)


async def connect(
    url: str,
    *,
    name: str = "fleet",
    login: Login = ANONYMOUS,
    timeout_seconds: float | None = None,
    on_closed: Callable[[], None] | None = None,
) -> Connection:
    """Connect to one of the comma-separated servers; later outages are survived for as long as they last.

    `on_closed` is called when nats-py gives the connection up for good (an expired user JWT does that): the process
    should end and be started again.

    Raises: QueueUnavailable if no server answers within `timeout_seconds`, `DEFAULT_TIMEOUT_SECONDS` unless given;
    ConfigError if it refuses the login, does not offer the TLS asked for, or the address is not valid.
    """
    connection = Connection(timeout_seconds or DEFAULT_TIMEOUT_SECONDS, on_closed)
    await connection.open(url, name, login)
    return connection


class _Batch:
    """Replies that are awaited together."""

    __slots__ = ("done", "messages", "missing", "replies")

    def __init__(self, messages: Sequence[Message], done: asyncio.Future[None]) -> None:
        self.messages = messages
        self.replies: list[Any] = [None] * len(messages)
        self.missing = len(messages)
        self.done = done


class Connection:
    """Batched request and reply, and subscriptions that notice an outage. Make one with `connect`."""

    def __init__(self, timeout_seconds: float, on_closed: Callable[[], None] | None = None) -> None:
        self.timeout_seconds: Final = timeout_seconds
        self._on_closed = on_closed
        self._nc: Any = TolerantClient()
        self._nc.on_refused = self._on_refused
        self._up = asyncio.Event()
        self._ids = itertools.count()
        self._batches: dict[str, _Batch] = {}
        self._open: set[asyncio.Future[Any]] = set()
        self._listeners: dict[asyncio.Queue[Arrival | QueueUnavailable], str] = {}
        self._inbox = ""
        self._is_closing = False
        self.generation = 0
        """The number of breaks so far. What the broker said before one may concern a store that it no longer has."""

    @property
    def nats(self) -> Any:
        """The nats-py client, for the management API."""
        return self._nc

    @property
    def max_message_bytes(self) -> int:
        """Maximum bytes of a message's headers and body together on this server."""
        return int(self._nc.max_payload)

    @property
    def max_bytes(self) -> int:
        """Maximum bytes of the body of one of our messages."""
        return self.max_message_bytes - HEADER_ROOM_BYTES

    async def open(self, url: str, name: str, login: Login) -> None:
        """See `connect`."""
        options = {**self._options(url, name), **login.options()}
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await self._nc.connect(**options)
        except (OSError, NatsError, TimeoutError) as error:
            is_accepted = self._nc.is_accepted
            await self._nc.close()
            # nats-py keeps trying whatever the reason is, and keeps the last one.
            last = self._nc.last_error or (None if isinstance(error, TimeoutError) else error)
            raise unreachable(without_password(url), last, self.timeout_seconds, is_accepted) from error
        self._inbox = self._nc.new_inbox()
        self._up.set()
        await self.subscribe(f"{self._inbox}.*.*", self._on_reply)

    def _options(self, url: str, name: str) -> dict[str, Any]:
        return {
            "servers": servers_in(url),
            "name": name,
            # nats-py closes for ever after the default 60 attempts, two minutes.
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.5,
            "connect_timeout": self.timeout_seconds,
            # A frozen server is noticed after 10 s instead of 4 minutes.
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "pending_size": 16 * 1024 * 1024,
            # Every subject is built from validated tokens; checking each again costs 7 %.
            "skip_subject_validation": True,
            "error_cb": self._log_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_close,
        }

    async def close(self) -> None:
        self._on_closed = None
        self._is_closing = True
        # A server that is gone resets what is left to be sent; on uvloop it may have closed the transport already. One
        # that is frozen never reads it.
        with suppress(OSError, RuntimeError, TimeoutError):
            async with asyncio.timeout(self.timeout_seconds):
                await self._nc.close()
            return
        self._nc.drop()

    async def exchange(
        self, messages: Sequence[Message], timeout_seconds: float | None = None, generation: int | None = None
    ) -> list[Arrival]:
        """Send all messages and return the reply to each, in order; with a `generation`, only while it lasts.

        Raises: QueueUnavailable if one reply is missing after `timeout_seconds` or the connection breaks.
        """
        if not messages:
            return []
        key = str(next(self._ids))
        inbox = f"{self._inbox}.{key}."
        commands = [self._command(message, f"{inbox}{index}") for index, message in enumerate(messages)]
        async with self.waiting(timeout_seconds or self.timeout_seconds) as done:
            if generation is not None and generation != self.generation:
                raise QueueUnavailable(BROKEN)
            batch = self._batches[key] = _Batch(messages, done)
            try:
                await self._write(commands)
                await done
            finally:
                del self._batches[key]
        return batch.replies

    @asynccontextmanager
    async def waiting(self, timeout_seconds: float) -> AsyncIterator[asyncio.Future[Any]]:
        """Provide a future that fails when the connection breaks.

        Raises: QueueUnavailable for timeouts and client errors; LoginRefused for a refused subject.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open.add(done)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._up.wait()
                yield done
        except TimeoutError as error:
            raise QueueUnavailable(f"no answer from NATS within {timeout_seconds:g} s") from error
        except PermissionRefused as error:
            raise LoginRefused(f"{error}: {OTHER_LOGIN}") from error
        except NatsError as error:
            raise QueueUnavailable(f"NATS client: {error}") from error
        except asyncio.CancelledError as error:
            raise_own(error)
            raise QueueUnavailable("NATS client: a call of its own was cancelled") from error
        finally:
            self._open.discard(done)
            done.cancel()

    async def send(self, message: Message, reply: str = "") -> None:
        """Send without waiting for an answer.

        Raises: QueueUnavailable if the client refuses the message.
        """
        await self._write([self._command(message, reply)])

    def _command(self, message: Message, reply: str) -> bytes:
        command = publication(message.subject, reply, message.data, message.headers)
        # The command is longer than what the server counts, so most need not be counted.
        if len(command) > self._nc.max_payload and message.size_bytes > self._nc.max_payload:
            # The server would close the connection for everybody.
            raise QueueUnavailable(f"{message.subject}: {message.size_bytes} bytes exceed the broker's maximum payload")
        return command

    async def _write(self, commands: Sequence[bytes]) -> None:
        try:
            await self._nc.write(commands)
        except NatsError as error:
            raise QueueUnavailable(f"NATS client: {error}") from error

    async def subscribe(self, subject: str, taker: Taker) -> Subscription:
        """Call `taker` with each message, as it is read; nothing is dropped.

        Raises: QueueUnavailable if the subscription fails.
        """
        async with self.waiting(self.timeout_seconds):
            return await self._nc.hear(subject, taker)

    async def unsubscribe(self, subscription: Subscription) -> None:
        try:
            await subscription.unsubscribe()
        except NatsError as error:
            log.debug("subscription_not_ended", error=str(error))

    async def listen(self, subject: str) -> AsyncIterator[Arrival]:
        """Yield each message from now on.

        Raises: QueueUnavailable if the connection breaks, because some may have been missed, or if listening is
        refused.
        """
        arrived: asyncio.Queue[Arrival | QueueUnavailable] = asyncio.Queue()
        subscription = await self.subscribe(subject, arrived.put_nowait)
        self._listeners[arrived] = subject
        try:
            while isinstance(message := await arrived.get(), Arrival):
                yield message
            raise message
        finally:
            del self._listeners[arrived]
            await self.unsubscribe(subscription)

    def new_inbox(self) -> str:
        """Return a new subject prefix for replies that are not one per request."""
        return str(self._nc.new_inbox())

    def _on_reply(self, message: Arrival) -> None:
        _, key, index = message.subject.rsplit(".", 2)
        batch = self._batches.get(key)
        if batch is None or batch.replies[int(index)] is not None:
            return
        batch.replies[int(index)] = message
        batch.missing -= 1
        if batch.missing == 0 and not batch.done.done():
            batch.done.set_result(None)

    async def _log_error(self, error: Exception) -> None:
        """Log the error, and never raise: nats-py would stop reading. Why a first attempt fails, `open` raises."""
        if self._inbox:
            log.warning("broker_error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        self.generation += 1
        self._up.clear()
        self._fail_all()
        if self._inbox and not self._is_closing:
            log.warning("broker_lost")

    async def _on_reconnected(self) -> None:
        self._up.set()
        log.info("broker_found_again")

    async def _on_close(self) -> None:
        # Callers that wait for the connection must learn that it will not come back.
        self._up.set()
        self._fail_all()
        if self._on_closed is not None:
            self._on_closed()

    def _on_refused(self, subject: str) -> bool:
        """Fail whatever waits for an answer that will never come. The server names the subject, in lower case here."""
        told = False
        for batch in self._batches.values():
            refused = next((each.subject for each in batch.messages if each.subject.lower() == subject), None)
            if refused is not None and not batch.done.done():
                batch.done.set_exception(LoginRefused(f"this login may not publish to {refused}: {OTHER_LOGIN}"))
                told = True
        for arrived, listened in self._listeners.items():
            if listened.lower() == subject:
                arrived.put_nowait(LoginRefused(f"this login may not listen to {listened}: {OTHER_LOGIN}"))
                told = True
        return told

    def _fail_all(self) -> None:
        for future in self._open:
            if not future.done():
                future.set_exception(QueueUnavailable(BROKEN))
        for arrived in self._listeners:
            arrived.put_nowait(QueueUnavailable(BROKEN))
