"""What the other dispatchers of the fleet serve. A target nobody serves here may be served there.

Every dispatcher reports its targets (see `fleet.dispatch.state.load`). One that reports nothing, an older one perhaps,
is known by what it does: it waits for the work of its targets. Neither look takes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from fleet.dispatch.patience import pause
from fleet.model.errors import QueueUnavailable
from fleet.model.scaling import Load
from fleet.ports import Clock, JobQueue, LoadBook

log = structlog.get_logger(__name__)

READ_SECONDS = 2.0
"""How often the reports are read: one request to the broker for each dispatcher."""

SERVED_SECONDS = 30.0
"""How long after the last sign of life a target counts as served: four reports may get lost, and a restart fits in."""

AWAITED_SECONDS = 10.0
"""The same after somebody was last seen to wait for its work, who reports nothing."""


@dataclass(frozen=True, slots=True)
class _Report:
    load: Load
    seen_at: float


class Peers:
    """The last signs of life of the others. Times are those of the dispatcher's own clock, when it saw them."""

    def __init__(
        self, book: LoadBook, queue: JobQueue, clock: Clock, id: str, known: Collection[str], own: Collection[str]
    ) -> None:
        """`id` is this dispatcher's in its reports, `known` are the targets of its catalogue, `own` those it serves."""
        self._book = book
        self._queue = queue
        self._clock = clock
        self._id = id
        self._known = frozenset(known)
        self._own = frozenset(own)
        self._reports: dict[str, _Report] = {}
        self._awaited: dict[str, float] = {}
        self._wanted = asyncio.Event()
        self._away = False
        self._since = clock.now()
        self.read_at: float | None = None
        self.served: Mapping[str, bool] = {}
        """What the others serve; True where only a tenant's own key is served."""
        self.others = 0
        """How many of them are known to be at work."""

    async def watch(self, on_reading: Callable[[], None], stop: asyncio.Event) -> None:
        """Read again and again, at once where somebody asks for it, until `stop` is set."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wanted.set())
        try:
            while not stop.is_set():
                self._wanted.clear()
                await self.read()
                on_reading()
                await pause(self._wanted, READ_SECONDS)
        finally:
            stopping.cancel()

    def want(self) -> None:
        """Have a reading made soon."""
        self._wanted.set()

    async def read(self, waiting: Collection[str] = ()) -> None:
        """Read once; `waiting` are targets of no catalogue here that work waits for. An outage is logged once."""
        begun_at = self._clock.now()
        try:
            self._note(await self._book.read(), begun_at)
            unknown = (self._known | set(waiting)) - self._own - self.served.keys()
            for target in await self._queue.awaited(unknown) if unknown else ():
                self._awaited[target] = begun_at
        except QueueUnavailable as error:
            if not self._away:
                log.warning("other_dispatchers_not_read", error=str(error))
            self._away = True
        else:
            self._away = False
            self.read_at = begun_at
        self._count(begun_at)

    def _note(self, loads: Sequence[Load], now: float) -> None:
        """One that says the same as before has said nothing since."""
        before, self._reports = self._reports, {}
        for load in loads:
            known = before.get(load.dispatcher)
            if load.dispatcher != self._id:
                self._reports[load.dispatcher] = known if known and known.load == load else _Report(load, now)
        self._count(now)

    def _count(self, now: float) -> None:
        oldest = now - SERVED_SECONDS
        self._awaited = {
            target: seen_at for target, seen_at in self._awaited.items() if seen_at > now - AWAITED_SECONDS
        }
        served = dict.fromkeys(self._awaited, False)
        alive = [report.load for report in self._reports.values() if report.seen_at > oldest]
        for load in alive:
            for target in load.serves or ():
                served[target] = served.get(target, True) and target in load.own_key_only
        if served.keys() != self.served.keys():
            log.info("served_elsewhere", targets=sorted(served))
        self.served = served
        self.others = sum(load.serves is None or bool(load.serves) for load in alive)

    def abandoned(self, target: str, now: float) -> bool:
        """Whether nobody has served it for long enough, as far as this dispatcher has been here to see."""
        return self.read_at is not None and target not in self.served and now - self._since >= SERVED_SECONDS
