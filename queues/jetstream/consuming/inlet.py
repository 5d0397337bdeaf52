"""Pull requests to one durable consumer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.subscription import Subscription
from pydantic_core import to_json

from fleet.model.errors import QueueUnavailable
from fleet.model.unguarded import unguarded
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.wire.letters import Message

NO_MESSAGES = "404"
REQUEST_TIMEOUT = "408"
NO_RESPONDERS = "503"
CONSUMER_DELETED = "Consumer Deleted"
PENDING_MESSAGES = "Nats-Pending-Messages"
"""The header with the number of messages a pull asked for and did not bring; not on every status."""

LATE_SECONDS = 1.0
"""Seconds to wait for announced deliveries; a majority of a cluster confirms within milliseconds."""

MAX_PULL_BYTES = 8 * 1024 * 1024
"""Bytes of one pull. The server drops a client for which more than 64 MB wait; several pulls run side by side."""

SUBJECT_ROOM_BYTES = 4096
"""Bytes to add for subjects, which the server counts as well."""

NANOSECONDS = 1_000_000_000


class ConsumerGone(QueueUnavailable):
    """Raised if the consumer does not exist, or no longer."""


class Inlet:
    """The deliveries of one consumer. Pulls one batch at a time; `close` it after a failed or cancelled pull.

    The server ends every pull by itself: with the last message asked for, or with a status message. In a cluster a
    delivery waits for a majority of the servers, and the status overtakes it: it says how many are still to come.
    """

    def __init__(
        self, connection: Connection, stream: str, consumer: str, max_pull_bytes: int = MAX_PULL_BYTES
    ) -> None:
        self._connection = connection
        self._max_pull_bytes = max_pull_bytes
        self._next_subject = api.next_subject(stream, consumer)
        self._inbox = connection.new_inbox()
        self._pulls = itertools.count()
        self._status_subject = ""
        self._subscription: Subscription | None = None
        self._limit = 0
        self._due = 0
        self._arrived: list[Arrival] = []
        self._done: asyncio.Future[Any] | None = None
        self.generation = connection.generation
        """The connection's generation at the last pull: its deliveries are of the store that the broker had then."""

    async def pull(self, limit: int, wait_seconds: float, grace_seconds: float) -> list[Arrival]:
        """Return what is there, up to `limit` and the bytes of a pull; if nothing, wait `wait_seconds` for the first.

        Raises: QueueUnavailable if the server refuses or says nothing for `grace_seconds` longer.
        """
        if self.generation != self._connection.generation:
            self._arrived.clear()  # the broker delivers them again when their leases end
        # Deliveries that came after their pull had ended are leased to us as well.
        if not self._arrived:
            await self._request(limit, wait_seconds, grace_seconds)
        messages, self._arrived = self._arrived[:limit], self._arrived[limit:]
        return messages

    async def _request(self, limit: int, wait_seconds: float, grace_seconds: float) -> None:
        request: dict[str, Any] = {"batch": limit, "no_wait": True, "max_bytes": self._max_bytes()}
        if wait_seconds > 0:
            request["expires"] = int(wait_seconds * NANOSECONDS)
        if self._subscription is None:
            self._subscription = await self._connection.subscribe(f"{self._inbox}.*", self._on_message)
        async with self._connection.waiting(wait_seconds + grace_seconds) as done:
            self.generation = self._connection.generation
            self._limit, self._due, self._done = limit, limit, done
            self._status_subject = f"{self._inbox}.{next(self._pulls)}"
            await self._connection.send(Message(self._next_subject, to_json(request)), reply=self._status_subject)
            await done

    def _max_bytes(self) -> int:
        """Return the bytes of a pull, never fewer than the largest message, which would wait for ever."""
        return max(self._max_pull_bytes, self._connection.max_message_bytes + SUBJECT_ROOM_BYTES)

    def _on_message(self, message: Arrival) -> None:
        """Take in a delivery, which keeps its own subject, or a status, which comes to the inbox itself.

        The status of the pull before may come late: a full batch is followed by 409 "Batch Completed".
        """
        if message.subject == self._status_subject:
            self._on_status(message.headers or {})
        elif not message.subject.startswith(self._inbox):
            self._arrived.append(message)
            self._end_if_all_is_here()

    def _on_status(self, headers: Mapping[str, str]) -> None:
        done = self._done
        if done is None or done.done():
            return
        pending = headers.get(PENDING_MESSAGES)
        self._due = len(self._arrived) if pending is None else self._limit - int(pending)
        if self._due <= 0 and headers.get("Status") not in (NO_MESSAGES, REQUEST_TIMEOUT):
            why = headers.get("Description", "nobody answers")
            gone = headers.get("Status") == NO_RESPONDERS or why == CONSUMER_DELETED
            refusal = ConsumerGone if gone else QueueUnavailable
            done.set_exception(refusal(f"the consumer refuses: {why}"))
            return
        self._end_if_all_is_here()
        # A leader that died before the majority had confirmed never sends the rest.
        asyncio.get_running_loop().call_later(LATE_SECONDS, _end, done)

    def _end_if_all_is_here(self) -> None:
        if self._done is not None and len(self._arrived) >= self._due:
            _end(self._done)

    async def close(self) -> None:
        """Hand back what has arrived, so that it need not wait for its lease to end."""
        if self._subscription is not None:
            await self._connection.unsubscribe(self._subscription)
        if self.generation != self._connection.generation:
            return
        with suppress(QueueUnavailable):
            for message in self._arrived:
                await self._connection.send(Message(message.reply, b"-NAK"))


def _end(done: asyncio.Future[Any]) -> None:
    if not done.done():
        done.set_result(None)


@unguarded
@dataclass(frozen=True, slots=True)
class HandOver:
    """The broker's facts about a delivery: its number, counted from 1, and where and when the message was stored.

    `sequence` is that of the stream, `stored_at` unix seconds. `left` messages are still to be delivered by the
    consumer.
    """

    deliveries: int
    sequence: int
    stored_at: float
    stream: str = ""
    left: int = 0


def hand_over_of(reply: str) -> HandOver:
    """Parse a reply subject ending in <stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<ns>.<pending>."""
    tokens = reply.split(".")
    # With a JetStream domain, two tokens are put in front and one is added at the end.
    first = 6 if len(tokens) > 9 else 4
    stored_at = int(tokens[first + 3]) / NANOSECONDS
    return HandOver(int(tokens[first]), int(tokens[first + 1]), stored_at, tokens[first - 2], int(tokens[first + 4]))


def consumer_sequence_of(reply: str) -> int:
    """Parse the number of a delivery among all of its consumer, counted from 1; see `hand_over_of`."""
    tokens = reply.split(".")
    return int(tokens[(6 if len(tokens) > 9 else 4) + 2])
