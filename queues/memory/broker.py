"""The broker in this process: messages, leases and redeliveries. Time comes from the clock given to it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from fleet.model.delivery import Depths, JobsOf, Source, Stored, WorkOf
from fleet.model.job import Lane
from queues.jetstream.stores.load import MemoryLoads
from queues.wire.letters import DEFAULT_MAX_MESSAGE_BYTES, Message
from queues.wire.result import result_in
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, MSG_ID, START_SUBJECTS, depths_of


@dataclass(slots=True, eq=False)
class LeasedMessage:
    """The `number`th message. `lease` counts the times it was parked; an older entry in `parked` is stale."""

    message: Message
    stored_at: float
    number: int = 0
    deliveries: int = 0
    lease: int = 0
    leased: bool = False
    gone: bool = False


@dataclass(slots=True)
class _SubjectQueue:
    """The messages of one source: ready ones in order, leased and delayed ones by when they come back."""

    ready: deque[LeasedMessage] = field(default_factory=deque)
    parked: list[tuple[float, int, int, LeasedMessage]] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=itertools.count)

    def park(self, held: LeasedMessage, due_at: float) -> None:
        held.lease += 1
        heapq.heappush(self.parked, (due_at, next(self.ids), held.lease, held))

    def head(self, now: float) -> LeasedMessage | None:
        """Return the first message that is ready; it stays where it is."""
        self.ready.extendleft(reversed(list(self._returning(now))))
        while self.ready and self.ready[0].gone:
            self.ready.popleft()
        return self.ready[0] if self.ready else None

    def _returning(self, now: float) -> Iterator[LeasedMessage]:
        while self.parked and self.parked[0][0] <= now:
            _, _, lease, held = heapq.heappop(self.parked)
            if lease == held.lease and not held.gone:
                held.leased = False
                yield held

    def everything(self) -> Iterator[LeasedMessage]:
        """Yield every message that has not gone; one that was parked again and again comes several times."""
        return (held for held in (*self.ready, *(parked[3] for parked in self.parked)) if not held.gone)

    def next_due_at(self) -> float | None:
        return self.parked[0][0] if self.parked else None


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message that stays. `stored_at` is unix seconds."""

    message: Message
    stored_at: float


class MemoryBroker:
    """The broker that the queues and desks of one process share. `now` gives unix seconds."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        ack_wait_seconds: float = 30.0,
        duplicate_window_seconds: float = 120.0,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self._now = now
        self._ack_wait_seconds = ack_wait_seconds
        self._duplicate_window_seconds = duplicate_window_seconds
        self._lines: dict[Source, _SubjectQueue] = {}
        self._depths: dict[str, Counter[str]] = {"jobs": Counter(), "work": Counter()}
        self._numbers = itertools.count()
        self._records: dict[str, list[RecordedMessage]] = {}
        self._last: dict[str, Message] = {}
        self._seen: dict[tuple[str, str], float] = {}
        self.dropped_letters: set[int] = set()
        self.readings: dict[int, int] = {}
        self._listeners: set[tuple[str, asyncio.Queue[Message]]] = set()
        self._changed = asyncio.Event()
        self.takers: Counter[Source] = Counter()
        self.loads = MemoryLoads(now)

    def store(self, message: Message) -> Stored:
        """Store a message unless it is too large. A repeat has the id or (if fenced) the subject of an earlier one."""
        if message.size_bytes > self.max_message_bytes:
            return Stored.REFUSED
        stream = message.subject.split(".", 1)[0]
        headers = message.headers or {}
        if EXPECTED_LAST_SUBJECT_SEQUENCE in headers and message.subject in self._last and self._is_kept_out(message):
            return self._fenced(message)
        if MSG_ID in headers and not self._is_new((stream, headers[MSG_ID])):
            return Stored.REPEAT
        source = _source_of(message.subject)
        if source is None:
            self._records.setdefault(stream, []).append(RecordedMessage(message, self._now()))
            self._last[message.subject] = message
        else:
            self._line(source).ready.append(LeasedMessage(message, self._now(), next(self._numbers)))
            self._depths[stream][message.subject] += 1
        self._tell(message)
        return Stored.NEW

    def _is_kept_out(self, message: Message) -> bool:
        """Return whether the stored message keeps this one out: no forged one does (see `queues.jetstream.fence`)."""
        there = self._last[message.subject].data
        return message.subject.startswith(START_SUBJECTS) or result_in(there) is not None

    def _fenced(self, message: Message) -> Stored:
        """Announce a refused message; return REPEAT, or NEW if it is the very start that an earlier try stored."""
        self._tell(message)  # the server announces before it refuses
        is_ours = message.subject.startswith(START_SUBJECTS) and message.data == self._last[message.subject].data
        return Stored.NEW if is_ours else Stored.REPEAT

    def _is_new(self, key: tuple[str, str]) -> bool:
        now = self._now()
        while self._seen and next(iter(self._seen.values())) <= now:
            del self._seen[next(iter(self._seen))]
        if key in self._seen:
            return False
        self._seen[key] = now + self._duplicate_window_seconds
        return True

    def _tell(self, message: Message) -> None:
        self.wake()
        for prefix, arrived in self._listeners:
            if message.subject.startswith(prefix):
                arrived.put_nowait(message)

    def wake(self) -> None:
        """Let every waiting `take` look again, as after moving the clock given to the broker."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def next_change(self) -> None:
        """Wait until something is stored or released, or `wake` is called."""
        await self._changed.wait()

    def recorded(self, stream: str) -> Sequence[RecordedMessage]:
        """Return the messages of a stream such as "results" or "ledger", oldest first."""
        return tuple(self._records.get(stream, ()))

    def stored(self, stream: str) -> Sequence[Message]:
        """Return the messages of `recorded` without their times."""
        return [record.message for record in self.recorded(stream)]

    def last(self, subject: str) -> Message | None:
        return self._last.get(subject)

    async def listen(self, prefix: str) -> AsyncIterator[Message]:
        """Yield every message from now on whose subject starts with `prefix`, also one that the fence refuses."""
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        listener = (prefix, arrived)
        self._listeners.add(listener)
        try:
            while True:
                yield await arrived.get()
        finally:
            self._listeners.discard(listener)

    def lease(self, source: Source, limit: int) -> list[LeasedMessage]:
        """Lease up to `limit` messages that are ready now."""
        lines, now = self._lines_of(source), self._now()
        taken: list[LeasedMessage] = []
        while len(taken) < limit and (heads := [held for line in lines if (held := line.head(now)) is not None]):
            held = min(heads, key=lambda held: (not held.deliveries, held.number))
            line = self._line_of(held)
            line.ready.popleft()
            held.deliveries += 1
            held.leased = True
            line.park(held, now + self._ack_wait_seconds)
            taken.append(held)
        return taken

    async def changed(self, source: Source, timeout_seconds: float) -> None:
        """Wait until something is stored or comes back, or for the timeout in real seconds."""
        dues = [due_at for line in self._lines_of(source) if (due_at := line.next_due_at()) is not None]
        if dues:
            timeout_seconds = min(timeout_seconds, max(0.0, min(dues) - self._now()))
        # Not wait_for: in Python 3.11 it loses a cancellation that comes together with the change.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()

    def end(self, held: LeasedMessage) -> None:
        if not held.gone:
            held.gone = True
            subject = held.message.subject
            self._depths[subject.split(".", 1)[0]][subject] -= 1

    def release(self, held: LeasedMessage, delay_seconds: float) -> None:
        """Hand the message out again after the delay; nothing changes if its lease has ended meanwhile."""
        if held.leased and not held.gone:
            self._line_of(held).park(held, self._now() + delay_seconds)
            self.wake()

    def depths(self) -> Depths:
        return replace(depths_of(self._depths["jobs"], self._depths["work"]), at=self._now())

    def oldest(self, source: Source) -> float | None:
        """Return when the oldest message of the source was stored, ready or not."""
        waiting = (held for line in self._lines_of(source) for held in line.everything())
        return min((held.stored_at for held in waiting), default=None)

    def waiting(self, tenant: str) -> Iterator[bytes]:
        """Yield the bodies of the tenant's jobs in lane bulk that wait or are in hand, some of them several times."""
        for source, line in self._lines.items():
            if source.lane is Lane.BULK:
                for held in line.everything():
                    if held.message.subject.rsplit(".", 1)[1] == tenant:
                        yield held.message.data

    def extend(self, held: LeasedMessage) -> None:
        self.release(held, self._ack_wait_seconds)

    def _line(self, source: Source) -> _SubjectQueue:
        return self._lines.setdefault(source, _SubjectQueue())

    def _line_of(self, held: LeasedMessage) -> _SubjectQueue:
        source = _source_of(held.message.subject)
        if source is None:
            raise TypeError("only what waits in a line can be handed out")
        return self._line(source)

    def _lines_of(self, source: Source) -> list[_SubjectQueue]:
        """Return the line of the source; for a whole lane, those of all its tenants."""
        if isinstance(source, JobsOf) and source.tenant is None:
            found = self._lines.items()
            return [line for each, line in found if isinstance(each, JobsOf) and each.lane is source.lane]
        return [self._line(source)]


def _source_of(subject: str) -> Source | None:
    """Return the source a job or work waits in; None for what is only recorded."""
    match subject.split(".", 3):
        case ["jobs", lane, tenant]:
            return JobsOf(Lane(lane), tenant)
        case ["work", target, lane, _]:
            return WorkOf(target, Lane(lane))
        case _:
            return None
