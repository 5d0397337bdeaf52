"""The targets that the other dispatchers of the fleet serve: one not served here may be served there.

Every dispatcher reports its targets (see `fleet.dispatch.state.load`). One that reports nothing, perhaps an older one,
is noticed because it waits for the work of its targets. Neither check takes any work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from fleet.dispatch.patience import pause
from fleet.logs import get_logger
from fleet.model.errors import QueueUnavailable
from fleet.model.scaling import Load
from fleet.ports import Clock, JobQueue, LoadBook

log = get_logger(__name__)

READ_SECONDS = 2.0
"""Interval between readings of the reports: one request to the broker for each dispatcher."""

SERVED_SECONDS = 30.0
"""A target counts as served this long after the last report: four reports may get lost, and a restart fits in."""

AWAITED_SECONDS = 10.0
"""A target counts as served this long after a dispatcher that reports nothing was last seen waiting for its work."""


AWAY_SECONDS = 3600.0
"""Jobs wait this long for a target whose dispatchers fell silent without a farewell, as where Ray's head is lost. It is
longer than a head takes to come back, and ends the jobs of one that nobody brings back; `deadline_seconds` may be less.
"""


@dataclass(frozen=True, slots=True)
class _Report:
    load: Load
    seen_at: float


class Peers:
    """The last signs of life of the other dispatchers, dated by this dispatcher's own clock when it saw them."""

    def __init__(
        self, book: LoadBook, queue: JobQueue, clock: Clock, id: str, known: Collection[str], own: Collection[str]
    ) -> None:
        """Set up; `id` is this dispatcher's in reports, `known` its catalogue's targets, `own` those it serves."""
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
        """The targets that the others serve; True where they serve it only for tenants' own keys."""
        self.away: Mapping[str, bool] = {}
        """The targets that were served until their dispatchers fell silent, as `served`."""
        self._last: dict[str, _Report] = {}
        self.others = 0
        """Number of other dispatchers known to be at work."""
        self.is_first = True
        """Whether this dispatcher's name comes before those of all others at work: it does what one is enough for."""

    async def watch(self, on_reading: Callable[[], None], stop: asyncio.Event) -> None:
        """Read again and again, at once after `want`, until `stop` is set."""
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
        """Ask for a reading soon."""
        self._wanted.set()

    async def read(self, waiting: Collection[str] = ()) -> None:
        """Read once; `waiting` are further targets, perhaps of no catalogue here, to ask about. Log an outage once."""
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
        """Note the reports; one that is the same as before keeps its old date: it was not sent again."""
        before, self._reports = self._reports, {}
        for load in loads:
            known = before.get(load.dispatcher)
            if load.dispatcher != self._id:
                self._reports[load.dispatcher] = known if known and known.load == load else _Report(load, now)
        self._last |= self._reports  # the broker forgets a report a minute after it was made
        self._count(now)

    def _count(self, now: float) -> None:
        oldest = now - SERVED_SECONDS
        self._awaited = {
            target: seen_at for target, seen_at in self._awaited.items() if seen_at > now - AWAITED_SECONDS
        }
        alive = [report.load for report in self._reports.values() if report.seen_at > oldest]
        served = _served_by(alive) | dict.fromkeys(self._awaited, False)
        if served.keys() != self.served.keys():
            log.info("served_elsewhere", targets=sorted(served))
        self.served = served
        self._last = {name: each for name, each in self._last.items() if each.seen_at > now - AWAY_SECONDS}
        lately = _served_by([report.load for report in self._last.values()])
        away = {target: own_key for target, own_key in lately.items() if target not in served}
        if away.keys() - self.away.keys():
            log.warning("targets_away", targets=sorted(away))
        self.away = away
        at_work = [load.dispatcher for load in alive if load.serves is None or load.serves]
        self.others = len(at_work)
        self.is_first = all(self._id < each for each in at_work)

    def abandoned(self, target: str, now: float) -> bool:
        """Return whether nobody serves the target, once this dispatcher has watched for SERVED_SECONDS."""
        return self.read_at is not None and target not in self.served and now - self._since >= SERVED_SECONDS


def _served_by(loads: Sequence[Load]) -> dict[str, bool]:
    """Return the targets of these dispatchers; True where all of them serve it for tenants' own keys only."""
    served: dict[str, bool] = {}
    for load in loads:
        for target in load.serves or ():
            served[target] = served.get(target, True) and target in load.own_key_only
    return served
