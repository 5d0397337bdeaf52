"""The answers that a dispatcher may give again: those it made and those of the others, as the cache tells of them.

Nothing here is needed to answer a job. Where the cache is away, jobs are answered as without one, and what could not be
kept is forgotten.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.dispatch.patience import POLL_SECONDS, first_of, until_stopped
from fleet.logs import get_logger
from fleet.model.cache_entry import CacheEntry, CacheKey
from fleet.model.errors import QueueUnavailable
from fleet.ports import CacheStore
from policies.rules.rules import Rules

log = get_logger(__name__)

LARGEST_CHARACTERS = 32_768
"""Maximum length of an answer that is kept."""

MOST_ENTRIES = 200_000
"""Maximum answers in hand, over all tenants."""

MOST_FLIGHTS = 10_000
"""Maximum requests of which it is remembered that one job asks a model for all. A peer may end it unheard."""

LONGEST_LEAD_SECONDS = 60.0
"""Time after which the next job that asks the same asks a model too: the first may have ended at a peer, unheard."""

MOST_WAITING = 10_000
"""Maximum answers that wait to be kept while the broker is slow; further ones are forgotten."""


@dataclass(slots=True)
class _Flight:
    """A request on its way to a model: for which job since when, and whether others wait for its answer."""

    leader: str
    since: float
    awaited: bool = False


class Answers:
    """Holds the answers of all tenants, at most so many of each as the rules say: the oldest make room."""

    def __init__(self, store: CacheStore | None, rules: Rules) -> None:
        self._store = store
        self._rules = rules
        self._entries: dict[CacheKey, CacheEntry] = {}
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._waiting: list[CacheEntry] = []
        self._to_drop: list[CacheKey] = []
        self._flights: dict[CacheKey, _Flight] = {}
        self._unkept: dict[CacheKey, None] = {}
        self.landings = 0
        """How many times a job has ended that others may wait for."""
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def entries(self) -> Mapping[CacheKey, CacheEntry]:
        return self._entries

    def keep(self, entry: CacheEntry) -> None:
        """Give the answer from now on, and let the other dispatchers know it."""
        if self._store is None or len(self._waiting) >= MOST_WAITING:
            return
        if len(str(entry.message)) > LARGEST_CHARACTERS:
            return
        self._add(entry)
        self._waiting.append(entry)
        self._news.set()

    def leads(self, key: CacheKey, call_id: str, now: float) -> bool:
        """Return whether the job asks a model: for all who ask the same now or, where that is no use, for itself."""
        if key in self._unkept:
            return True
        flight = self._flights.get(key)
        if flight is not None and flight.leader == call_id:
            return True
        if flight is not None and now - flight.since < LONGEST_LEAD_SECONDS:
            flight.awaited = True
            return False
        self._flights.pop(key, None)
        _make_room(self._flights)
        self._flights[key] = _Flight(call_id, now)
        return True

    def land(self, key: CacheKey, call_id: str | None = None) -> bool:
        """Let go those who wait for the job, or for whoever asks the same; return whether any does."""
        flight = self._flights.get(key)
        if flight is None or call_id not in (None, flight.leader):
            return False
        del self._flights[key]
        self.landings += flight.awaited  # whoever is told looks at all that is held
        return flight.awaited

    def not_kept(self, key: CacheKey) -> None:
        """Note that the request was answered and nothing could be kept: nobody waits for such an answer from now on."""
        _make_room(self._unkept)
        self._unkept[key] = None

    def withdraw(self, calibration: str) -> None:
        """Drop the answers that this version of a calibration accepted: its promise is taken back."""
        self._drop([key for key, entry in self._entries.items() if entry.calibration == calibration])

    def evict(self, job_ids: Iterable[str], tenant: str) -> list[CacheKey]:
        """Drop the tenant's answers that one of these jobs got from a model; return which there were."""
        named = frozenset(job_ids)
        found = [(tenant, key) for key in self._of.get(tenant, ()) if self._entries[tenant, key].job_id in named]
        self._drop(found)
        return found

    def _drop(self, keys: list[CacheKey]) -> None:
        for key in keys:
            self._remove(key)
        if keys and self._store is not None:
            self._to_drop += keys
            self._news.set()

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the cache and tell it what is new, until `stop` is set."""
        if self._store is None:
            return
        async with asyncio.TaskGroup() as group:
            for following in (self._follow(self._store), self._listen(self._store)):
                group.create_task(until_stopped(following, stop, self._tasks))
            group.create_task(self._tell(self._store, stop))

    async def _follow(self, store: CacheStore) -> None:
        async for changes in store.follow():
            for each in changes:
                if isinstance(each, CacheEntry):
                    self._add(each)
                else:
                    self._remove(each)

    async def _listen(self, store: CacheStore) -> None:
        async for tenant, job_ids in store.disowned():
            if dropped := self.evict(job_ids, tenant):
                log.info("cached_answers_evicted", tenant=tenant, answers=len(dropped))

    async def _tell(self, store: CacheStore, stop: asyncio.Event) -> None:
        heard = True
        while self._news.is_set() or not stop.is_set():
            await first_of((self._news, stop), POLL_SECONDS)
            self._news.clear()
            kept, self._waiting = self._waiting, []
            dropped, self._to_drop = self._to_drop, []
            try:
                if kept:
                    await store.put(kept)
                if dropped:
                    await store.drop(dropped)
                heard = heard or bool(kept or dropped)
            except QueueUnavailable as error:
                self._to_drop = list(dict.fromkeys((*dropped, *self._to_drop)))  # else they are back with the broker
                if heard:
                    log.warning("cache_not_told", answers=len(kept), dropped=len(dropped), error=str(error))
                heard = False

    def _add(self, entry: CacheEntry) -> None:
        of_tenant = self._of.setdefault(entry.tenant, OrderedDict())
        of_tenant.pop(entry.key, None)
        of_tenant[entry.key] = None
        self._entries[entry.tenant, entry.key] = entry
        self._unkept.pop((entry.tenant, entry.key), None)
        self.land((entry.tenant, entry.key))
        if len(of_tenant) > self._rules.cache.entries:
            self._remove((entry.tenant, next(iter(of_tenant))))
        if len(self._entries) > MOST_ENTRIES:
            tenant = max(self._of, key=lambda name: len(self._of[name]))
            self._remove((tenant, next(iter(self._of[tenant]))))

    def _remove(self, key: CacheKey) -> None:
        if self._entries.pop(key, None) is not None:
            tenant, of_request = key
            del self._of[tenant][of_request]
            if not self._of[tenant]:
                del self._of[tenant]


def _make_room(remembered: dict[CacheKey, Any]) -> None:
    """Forget the oldest of the keys where there are too many."""
    while len(remembered) >= MOST_FLIGHTS:
        del remembered[next(iter(remembered))]
