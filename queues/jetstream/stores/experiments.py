"""The experiments: a NATS key-value bucket that all dispatchers follow, and its twin in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from nats.js.api import DeliverPolicy

from fleet.logs import get_logger
from fleet.model.experiment import Experiment
from fleet.model.feedback import Feedback
from fleet.model.result import LedgerEntry
from queues.jetstream.client.frames import Arrival
from queues.jetstream.consuming.following import follow
from queues.jetstream.consuming.inlet import hand_over_of
from queues.jetstream.stores.bucket import JetStreamBucket, Kind, MemoryBucket
from queues.memory import MemoryBroker
from queues.memory.broker import RecordedMessage
from queues.wire.experiment import decode_experiment, encode_experiment
from queues.wire.feedback import decode_feedback
from queues.wire.ledger import decode_ledger
from queues.wire.subjects import EXPERIMENTS, FEEDBACK, LEDGER, experiment_subject, ledger_subject

CLOCKS_SECONDS = 300.0
"""How far an operator's clock may be ahead of the broker's; what was stored before the start is of no experiment."""

SLICE = 32
"""Messages read before other tasks get their turn: some two milliseconds where each is a line of an experiment."""

log = get_logger(__name__)


def _left_out(subject: str, problem: str) -> None:
    log.warning("experiment_left_out", subject=subject, problem=problem)


EXPERIMENT = Kind("experiment", EXPERIMENTS, experiment_subject, encode_experiment, decode_experiment, _left_out)


class JetStreamExperiments(JetStreamBucket[Experiment]):
    """Implements `fleet.ports.ExperimentStore` on the bucket `experiments`."""

    kind = EXPERIMENT

    async def lines(self, since: float) -> AsyncGenerator[tuple[Sequence[LedgerEntry], int], None]:
        async for messages, missing in self._told(LEDGER, ledger_subject("*"), since):
            yield [found for each in messages if (found := _line(each.data)) is not None], missing

    async def verdicts(self, since: float) -> AsyncGenerator[tuple[Sequence[Feedback], int], None]:
        async for messages, missing in self._told(FEEDBACK, "feedback.>", since):
            yield [found for each in messages if (found := _verdict(each)) is not None], missing

    async def _told(self, stream: str, subject: str, since: float) -> AsyncIterator[tuple[list[Arrival], int]]:
        # The start is by the clock of whoever started the experiment, what is stored by the broker's.
        start = max(0.0, since - CLOCKS_SECONDS)
        where = (stream, subject, DeliverPolicy.BY_START_TIME, self._poll_seconds, start)
        async for messages, missing in follow(self._connection, *where):
            for first in range(0, max(1, len(messages)), SLICE):
                part = messages[first : first + SLICE]
                yield part, missing + len(messages) - first - len(part)
                await asyncio.sleep(0)


def _line(data: bytes) -> LedgerEntry | None:
    if b'"assigned":' not in data:  # reading costs twenty times as much as looking
        return None
    try:
        return decode_ledger(data)
    except (ValueError, AttributeError):
        return None


def _verdict(message: Arrival) -> Feedback | None:
    found = decode_feedback(message.data, message.subject, hand_over_of(message.reply).stored_at)
    return found if isinstance(found, Feedback) else None


class MemoryExperiments(MemoryBucket[Experiment]):
    """Implements `fleet.ports.ExperimentStore` beside the accounts and the feedback of a MemoryBroker."""

    kind = EXPERIMENT

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        super().__init__()
        self._broker = broker or MemoryBroker()

    async def lines(self, since: float) -> AsyncGenerator[tuple[Sequence[LedgerEntry], int], None]:
        async for told in self._told(LEDGER, since):
            yield [found for each in told if (found := _line(each.message.data)) is not None], 0

    async def verdicts(self, since: float) -> AsyncGenerator[tuple[Sequence[Feedback], int], None]:
        async for told in self._told(FEEDBACK, since):
            decoded = (decode_feedback(each.message.data, each.message.subject, each.stored_at) for each in told)
            yield [each for each in decoded if isinstance(each, Feedback)], 0

    async def _told(self, stream: str, since: float) -> AsyncIterator[list[RecordedMessage]]:
        read = 0
        while True:
            messages = self._broker.recorded(stream.lower())[read:]
            read += len(messages)
            yield [each for each in messages if each.stored_at >= since]
            if not messages:
                await self._broker.next_change()
