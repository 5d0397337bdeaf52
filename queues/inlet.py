"""Pull requests to one durable consumer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from pydantic_core import to_json

from fleet.model.errors import QueueUnavailable
from queues.connection import Connection
from queues.letters import Message

NO_MESSAGES = "404"
REQUEST_TIMEOUT = "408"
NANOSECONDS = 1_000_000_000


class Inlet:
    """One consumer's deliveries. Pulls one batch at a time; `close` after a failed or cancelled pull.

    The server ends every pull by itself: with the last message asked for, or with a status message.
    """

    def __init__(self, connection: Connection, stream: str, consumer: str) -> None:
        self._connection = connection
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = connection.new_inbox()
        self._subscription: Subscription | None = None
        self._limit = 0
        self._messages: list[Msg] = []
        self._done: asyncio.Future[Any] | None = None

    async def pull(self, limit: int, wait_seconds: float, grace_seconds: float) -> list[Msg]:
        """What is there, up to `limit`; if nothing, the first to come within `wait_seconds`.

        Raises: QueueUnavailable if the server refuses or says nothing for `grace_seconds` longer.
        """
        request: dict[str, Any] = {"batch": limit, "no_wait": True}
        if wait_seconds > 0:
            request["expires"] = int(wait_seconds * NANOSECONDS)
        if self._subscription is None:
            self._subscription = await self._connection.subscribe(self._inbox, self._on_message)
        async with self._connection.waiting(wait_seconds + grace_seconds) as done:
            self._limit, self._messages, self._done = limit, [], done
            await self._connection.send(Message(self._next_subject, to_json(request)), reply=self._inbox)
            await done
        return self._messages

    async def _on_message(self, message: Msg) -> None:
        """A delivery keeps its own subject; what comes to the inbox itself is the status that ends the pull."""
        if message.subject == self._inbox:
            self._end(message)
            return
        self._messages.append(message)
        if len(self._messages) >= self._limit:
            self._end(None)

    def _end(self, status: Msg | None) -> None:
        if self._done is None or self._done.done():
            return
        headers = {} if status is None else status.headers or {}
        refused = headers.get("Status", NO_MESSAGES) not in (NO_MESSAGES, REQUEST_TIMEOUT)
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
