"""Pull requests to one durable consumer."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic_core import to_json

from fleet.model.errors import QueueUnavailable
from queues.connection import Connection
from queues.letters import Message

NO_MESSAGES = "404"
REQUEST_TIMEOUT = "408"
MAX_PULL_BYTES = 8 * 1024 * 1024
"""The server cuts the connection of a client for which more than 64 MB wait; several pulls run side by side."""

NANOSECONDS = 1_000_000_000


class Inlet:
    """One consumer's deliveries. Pulls one batch at a time; `close` after a failed or cancelled pull.

    The server ends every pull by itself: with the last message asked for, or with a status message.
    """

    def __init__(self, connection: Connection, stream: str, consumer: str) -> None:
        self._connection = connection
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = connection.new_inbox()
        self._pulls = itertools.count()
        self._status_subject = ""
        self._subscription: Subscription | None = None
        self._limit = 0
        self._messages: list[Msg] = []
        self._done: asyncio.Future[Any] | None = None

    async def pull(self, limit: int, wait_seconds: float, grace_seconds: float) -> list[Msg]:
        """What is there, up to `limit` and `MAX_PULL_BYTES`; if nothing, the first to come within `wait_seconds`.

        Raises: QueueUnavailable if the server refuses or says nothing for `grace_seconds` longer.
        """
        request: dict[str, Any] = {"batch": limit, "no_wait": True, "max_bytes": self._max_bytes()}
        if wait_seconds > 0:
            request["expires"] = int(wait_seconds * NANOSECONDS)
        if self._subscription is None:
            self._subscription = await self._connection.subscribe(f"{self._inbox}.*", self._on_message)
        async with self._connection.waiting(wait_seconds + grace_seconds) as done:
            self._limit, self._messages, self._done = limit, [], done
            self._status_subject = f"{self._inbox}.{next(self._pulls)}"
            await self._connection.send(Message(self._next_subject, to_json(request)), reply=self._status_subject)
            await done
        return self._messages

    def _max_bytes(self) -> int:
        """Never less than the largest message, which would wait for ever; subjects count as well."""
        return max(MAX_PULL_BYTES, 2 * self._connection.max_message_bytes)

    async def _on_message(self, message: Msg) -> None:
        """A delivery keeps its own subject; what comes to the inbox itself is a status.

        That of the pull before may come late: a full batch is followed by 409 "Batch Completed".
        """
        if message.subject == self._status_subject:
            self._end(message)
            return
        if message.subject.startswith(self._inbox):
            return
        self._messages.append(message)
        if len(self._messages) >= self._limit:
            self._end(None)

    def _end(self, status: Msg | None) -> None:
        if self._done is None or self._done.done():
            return
        headers = {} if status is None else status.headers or {}
        refused = headers.get("Status", NO_MESSAGES) not in (NO_MESSAGES, REQUEST_TIMEOUT)
        # After a message it is an ordinary end, such as 409 where the next message would exceed the bytes.
        if refused and not self._messages:
            why = headers.get("Description", "nobody answers")
            self._done.set_exception(QueueUnavailable(f"the consumer refuses: {why}"))
        else:
            self._done.set_result(None)

    async def close(self) -> None:
        """Hand back what has arrived, so that it need not wait for its lease to end."""
        if self._subscription is not None:
            await self._connection.unsubscribe(self._subscription)
        with suppress(QueueUnavailable):
            for message in self._messages:
                await self._connection.send(Message(message.reply, b"-NAK"))


@dataclass(frozen=True, slots=True)
class HandOver:
    """What the broker says of a delivery: how many it was, counted from 1, and where and when the message was stored.

    `sequence` is that of the stream, `stored_at` unix seconds.
    """

    deliveries: int
    sequence: int
    stored_at: float


def hand_over_of(reply: str) -> HandOver:
    """The reply subject ends in <deliveries>.<stream seq>.<consumer seq>.<stored, ns>.<pending>[.<random>]."""
    tokens = reply.split(".")
    # With a JetStream domain, two tokens are put in front and one is added at the end.
    first = 6 if len(tokens) > 9 else 4
    return HandOver(int(tokens[first]), int(tokens[first + 1]), int(tokens[first + 3]) / NANOSECONDS)
