"""Jobs whose subject names no valid tenant, so that no consumer's filter can match them.

Only a publisher with a right to more than its own subject can send one. A stray is found by its place in the stream and
removed by it, so that it is answered like any other malformed job and does not stay for ever.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from fleet.model.delivery import AnyDelivery, Delivery, JobsOf, Source
from fleet.model.job import TENANT, Lane
from queues.jetstream.client.connection import Connection
from queues.wire.codec import decode
from queues.wire.letters import Message
from queues.wire.subjects import JOBS

SCANNED_AT_ONCE = 256
SCANNED_PER_TAKE = 4096


@dataclass(frozen=True, slots=True)
class Stray:
    """The place of a stray message."""

    sequence: int

    def removal(self) -> Message:
        return Message(f"$JS.API.STREAM.MSG.DELETE.{JOBS}", to_json({"seq": self.sequence, "no_erase": True}))


class Strays:
    """Looks through the stream once, then through what is new. Nothing is leased: a repetition does no harm."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._seen = 0

    async def take(self, limit: int) -> list[AnyDelivery]:
        """Return the strays among the next few thousand messages, and stop at `limit` or a few more.

        Raises: QueueUnavailable if the stream cannot be read.
        """
        [info] = await self._connection.exchange([Message(f"$JS.API.STREAM.INFO.{JOBS}", b"")])
        state = from_json(info.data).get("state", {})
        last = state.get("last_seq", 0)
        # A restored store gives out the same places again.
        first = max(state.get("first_seq", 1), min(self._seen, last) + 1)
        found: list[AnyDelivery] = []
        for start in range(first, min(last + 1, first + SCANNED_PER_TAKE), SCANNED_AT_ONCE):
            end = min(last + 1, start + SCANNED_AT_ONCE)
            found += await self._look_at(range(start, end))
            self._seen = end - 1
            if len(found) >= limit:
                break
        return found

    async def _look_at(self, sequences: range) -> list[AnyDelivery]:
        gets = [Message(f"$JS.API.STREAM.MSG.GET.{JOBS}", to_json({"seq": sequence})) for sequence in sequences]
        replies = [from_json(reply.data) for reply in await self._connection.exchange(gets)]
        messages = [reply["message"] for reply in replies if "message" in reply]
        return [delivery for message in messages if is_stray((delivery := _delivery(message)).source)]


def is_stray(source: Source) -> bool:
    return isinstance(source, JobsOf) and source.tenant is not None and TENANT.fullmatch(source.tenant) is None


def _delivery(message: dict[str, Any]) -> AnyDelivery:
    data, subject = base64.b64decode(message.get("data", "")), message["subject"]
    _, lane, tenant = subject.split(".", 2)
    source, stored_at = JobsOf(Lane(lane), tenant), datetime.fromisoformat(message["time"]).timestamp()
    body = decode(source, data, None, subject, stored_at)
    return Delivery(body, source, 1, stored_at, raw=data, token=Stray(message["seq"]))
