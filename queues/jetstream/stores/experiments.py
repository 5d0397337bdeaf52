"""The experiments: a NATS key-value bucket that all dispatchers follow, and its twin in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence

from nats.js.api import DeliverPolicy

from fleet.logs import get_logger
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.experiment import Experiment
from fleet.model.feedback import Feedback
from fleet.model.result import LedgerEntry
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.frames import Arrival
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.consuming.following import POLL_SECONDS, follow
from queues.jetstream.consuming.inlet import hand_over_of
from queues.jetstream.queue import store
from queues.jetstream.stores.journal import recorded
from queues.memory import MemoryBroker
from queues.memory.broker import RecordedMessage
from queues.wire.experiment import decode_experiment, experiment_message
from queues.wire.feedback import decode_feedback
from queues.wire.ledger import decode_ledger
from queues.wire.subjects import (
    EXPECTED_LAST_SEQUENCE,
    EXPERIMENTS,
    FEEDBACK,
    LEDGER,
    experiment_subject,
    ledger_subject,
)

Experiments = Mapping[str, Experiment]
Change = Callable[[Experiments], Experiment]

PAUSE_SECONDS = 0.5
"""Seconds between tries while the broker is away."""

LOST_SECONDS = 15.0
"""Seconds without a word of the bucket after which nobody knows any more what is in force: nobody would hear a stop."""

CLOCKS_SECONDS = 300.0
"""How far an operator's clock may be ahead of the broker's; what was stored before the start is of no experiment."""

SLICE = 32
"""Messages read before other tasks get their turn: some two milliseconds where each is a line of an experiment."""

TRIES = 5
"""Tries of a change while others change experiments too."""

log = get_logger(__name__)


class JetStreamExperiments:
    """Implements `fleet.ports.ExperimentStore` on the bucket `experiments`, which the topology makes."""

    def __init__(self, connection: Connection, poll_seconds: float = POLL_SECONDS) -> None:
        self._connection = connection
        self._poll_seconds = poll_seconds

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamExperiments:
        """Return a store on a connection of its own, closed with it.

        Raises: QueueUnavailable if no broker answers.
        """
        return cls(await connect(url, name="fleet-experiments", login=login))

    async def read_all(self) -> Experiments:
        latest = recorded(self._connection, EXPERIMENTS, experiment_subject(">"), latest_only=True)
        return _readable([(message.subject, message.data) async for message in latest])

    async def change(self, change: Change) -> Experiment:
        for _ in range(TRIES):
            # Taken before the experiments are read: whatever is stored after that refuses the change.
            last = (await api.stream_info(self._connection, EXPERIMENTS)).last_sequence
            changed = change(await self.read_all())
            message = experiment_message(changed, {EXPECTED_LAST_SEQUENCE: str(last)})
            if await store(self._connection, [message]) == [Stored.NEW]:
                return changed
        raise QueueUnavailable("the experiment was not stored: others are being changed, so try again")

    async def watch(self, on_change: Callable[[Experiments | None], None]) -> None:
        loop = asyncio.get_running_loop()
        heard_at: float | None = None
        while True:
            known: dict[str, bytes] = {}
            told = False
            try:
                where = (EXPERIMENTS, experiment_subject(">"), DeliverPolicy.LAST_PER_SUBJECT, self._poll_seconds)
                async for messages, missing in follow(self._connection, *where):
                    heard_at = loop.time()
                    known.update((message.subject, message.data) for message in messages)
                    if missing <= 0 and (messages or not told):
                        told = True
                        on_change(_readable(known.items()))
            except QueueUnavailable as error:
                log.debug("experiments_not_read", error=str(error))
            if heard_at is not None and loop.time() - heard_at > LOST_SECONDS:
                heard_at = None
                on_change(None)
            await asyncio.sleep(PAUSE_SECONDS)

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

    async def close(self) -> None:
        await self._connection.close()


def _readable(messages: Iterable[tuple[str, bytes]]) -> Experiments:
    found = (_experiment(subject, data) for subject, data in messages if data)
    return {each.name: each for each in found if each is not None}


def _experiment(subject: str, data: bytes) -> Experiment | None:
    try:
        experiment = decode_experiment(data)
    except (ValueError, ConfigError) as error:
        log.warning("experiment_left_out", subject=subject, problem=str(error))
        return None
    if subject != experiment_subject(experiment.name):
        log.warning("experiment_left_out", subject=subject, problem=f"is of {experiment.name}")
        return None
    return experiment


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


class MemoryExperiments:
    """Implements `fleet.ports.ExperimentStore` on a MemoryBroker, shared by its holders. It stores the same bytes."""

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self._broker = broker or MemoryBroker()
        self._messages: dict[str, bytes] = {}
        self._changed = asyncio.Event()
        self.away = False
        """Set where the bucket cannot be read, for a test."""

    async def read_all(self) -> Experiments:
        return _readable(list(self._messages.items()))

    async def change(self, change: Change) -> Experiment:
        changed = change(await self.read_all())
        message = experiment_message(changed)
        self._messages[message.subject] = message.data
        self._tell()
        return changed

    def lose(self) -> None:
        """Let all who watch know that nothing can be read any more."""
        self.away = True
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def watch(self, on_change: Callable[[Experiments | None], None]) -> None:
        while True:
            changed = self._changed
            on_change(None if self.away else await self.read_all())
            await changed.wait()

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

    async def close(self) -> None:
        """Do nothing: the bucket belongs to the process."""
