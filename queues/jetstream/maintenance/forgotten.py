"""Finds messages in a queue that its consumer has forgotten.

A nats-server that is killed may keep the acknowledgement of a message and lose its removal. Nobody is given the message
again then, and until the server's next start it counts as waiting: its target never seems to be without work.
If a consumer has nothing to hand out and nothing in hand, and its subjects are not empty for long, the consumer is
removed and made again. It hands out what is there once more, which does no harm, like every other redelivery.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from fleet.logs import get_logger
from fleet.model.delivery import Depths, Source
from fleet.model.errors import QueueUnavailable
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.maintenance.strays import is_stray
from queues.wire.subjects import consumer_of, stream_of

STILL_SECONDS = 30.0
"""Seconds for which the number of messages must stay the same before the consumer is asked."""

MOST_ASKED = 8
"""Maximum consumers asked after one reading, which waits for their answers."""

log = get_logger(__name__)


class Forgotten:
    """Watches the depths that one dispatcher reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._still: dict[Source, tuple[int, float]] = {}

    async def look(self, depths: Depths) -> None:
        """Remove the consumers that have forgotten something; the next to take from one of them makes it again."""
        for source in self._unmoved(_counts(depths)):
            if await self._remove(source):
                log.warning("consumer_forgot_messages", consumer=consumer_of(source), stream=stream_of(source))

    def _unmoved(self, counts: Mapping[Source, int]) -> list[Source]:
        now = asyncio.get_running_loop().time()
        before, self._still = self._still, {}
        for source, count in counts.items():
            known, since = before.get(source, (count, now))
            self._still[source] = (count, since if known == count else now)
        unmoved = [source for source, (_, since) in self._still.items() if now - since >= STILL_SECONDS][:MOST_ASKED]
        for source in unmoved:
            del self._still[source]
        return unmoved

    async def _remove(self, source: Source) -> bool:
        """Remove the consumer if it is idle; return whether it is gone. Another dispatcher may have been first."""
        try:
            [info] = await api.consumer_info(self._connection, [source])
            if info is None or info.num_pending or info.num_ack_pending:
                return False
            await api.delete_consumers(self._connection, [source])
        except QueueUnavailable as error:
            log.warning("forgotten_messages_not_looked_for", error=str(error))
            return False
        return True


def _counts(depths: Depths) -> Mapping[Source, int]:
    """Return the messages by the source whose consumer hands them out."""
    counts: Counter[Source] = Counter(depths.work)
    for source, count in depths.jobs.items():
        if not is_stray(source):
            counts[source] += count
    return counts
