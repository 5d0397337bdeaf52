"""The answers that a dispatcher may give again: those it made and those of the others, as the cache tells of them.

Nothing here is needed to answer a job. Where the cache is away, jobs are answered as without one.

An answer that is given a second time is told to the others at once, the rest little by little: a million requests that
never come again cost the broker next to nothing. Another dispatcher that is asked the same before that asks a model.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fleet.dispatch.patience import POLL_SECONDS, first_of, pause, until_stopped
from fleet.dispatch.semantic.lookups import LookUps
from fleet.logs import get_logger
from fleet.model.cache_entry import UNTOLD, CacheEntry, CacheKey
from fleet.model.caching import DisownedHit
from fleet.model.errors import QueueUnavailable
from fleet.ports import CacheStore
from policies.rules.rules import Rules

log = get_logger(__name__)

MOST_ENTRIES = 200_000
"""Maximum answers in hand, over all tenants."""

MOST_CHARACTERS = 100_000_000
"""Maximum characters of the answers in hand, over all tenants: some 100 MB in most languages, 400 MB with emoji."""

MOST_FLIGHTS = 10_000
"""Maximum requests of which it is remembered that one job asks a model for all. A peer may end it unheard."""

LONGEST_LEAD_SECONDS = 60.0
"""Time after which the next job that asks the same asks a model too: the first may have ended at a peer, unheard."""

TELL_SECONDS = 0.25
"""Time between two tellings."""

TOLD_AT_ONCE = 25
"""Maximum answers told at once that nobody has asked for again. One costs a third of what a job does."""

TOLD_AT_LAST = 5_000
"""Maximum answers told by a dispatcher that stops: the newest."""


@dataclass(slots=True)
class _Flight:
    """A request on its way to a model: for which job since when, and whether others wait for its answer."""

    leader: str
    since: float
    awaited: bool = False


class Answers:
    """Holds the answers of all tenants, at most so many of each as the rules say: the oldest make room.

    `similar` is told of each that comes and goes, so that questions may be compared with it; `disowned` of each that
    the semantic cache gave and a user calls bad, with its tenant.
    """

    def __init__(
        self,
        store: CacheStore | None,
        rules: Rules,
        similar: LookUps | None = None,
        disowned: Callable[[str, DisownedHit], None] | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._similar = similar
        self._tell_disowned = disowned
        self._entries: dict[CacheKey, CacheEntry] = {}
        self._of: dict[str, dict[str, None]] = {}
        self._characters = Counter[str]()
        self._all_characters = 0
        self._untold: dict[CacheKey, None] = {}
        self._asked_again: dict[CacheKey, None] = {}
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
        """Give the answer from now on, and let the other dispatchers know it in time."""
        if self._store is None:
            return
        self._add(entry)
        self._untold[entry.tenant, entry.key] = None
        self._news.set()

    def given(self, key: CacheKey) -> None:
        """Note that the answer was given again: the other dispatchers are to know it soon."""
        if key in self._untold:
            self._asked_again[key] = None
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
                    self._is_told((each.tenant, each.key))
                else:
                    self._forget(each)

    def _forget(self, key: CacheKey) -> None:
        for each in list(self._untold) if key == UNTOLD else (key,):
            self._remove(each)

    async def _listen(self, store: CacheStore) -> None:
        async for tenant, job_ids, hit in store.disowned():
            if hit is not None and self._tell_disowned is not None:
                self._tell_disowned(tenant, hit)
            if dropped := self.evict(job_ids, tenant):
                log.info("cached_answers_evicted", tenant=tenant, answers=len(dropped))

    async def _tell(self, store: CacheStore, stop: asyncio.Event) -> None:
        heard, is_last = True, False
        while not is_last:
            await first_of((self._news, stop), POLL_SECONDS)
            self._news.clear()
            is_last = stop.is_set()
            entries, dropped = self._to_tell(is_last), self._to_drop
            self._to_drop = []
            try:
                if dropped:
                    await store.drop(dropped)
                if entries:
                    await store.put(entries)
                    self._told(entries)
                heard = heard or bool(entries or dropped)
            except QueueUnavailable as error:
                self._to_drop = list(dict.fromkeys((*dropped, *self._to_drop)))  # else they are back with the broker
                if heard:
                    log.warning("cache_not_told", answers=len(entries), dropped=len(dropped), error=str(error))
                heard = False
            await pause(stop, TELL_SECONDS)

    def _to_tell(self, is_last: bool) -> list[CacheEntry]:
        """Return what the others are to know now: what was asked for again, and some of the rest."""
        rest = islice(reversed(self._untold), TOLD_AT_LAST) if is_last else islice(self._untold, TOLD_AT_ONCE)
        return [self._entries[key] for key in dict.fromkeys((*self._asked_again, *rest))]

    def _told(self, entries: Iterable[CacheEntry]) -> None:
        for entry in entries:
            key = entry.tenant, entry.key
            if self._entries.get(key) is entry:
                self._is_told(key)
        if self._untold:
            self._news.set()

    def _is_told(self, key: CacheKey) -> None:
        self._untold.pop(key, None)
        self._asked_again.pop(key, None)

    def _add(self, entry: CacheEntry) -> None:
        if self._similar is not None:
            self._similar.keep(entry)
        key = entry.tenant, entry.key
        of_tenant = self._of.setdefault(entry.tenant, {})
        of_tenant.pop(entry.key, None)
        of_tenant[entry.key] = None
        self._count(entry.tenant, _length(entry) - _length(self._entries.get(key)))
        self._entries[key] = entry
        self._unkept.pop(key, None)
        self.land(key)
        if len(of_tenant) > self._rules.cache.entries:
            self._remove((entry.tenant, next(iter(of_tenant))))
        if len(self._entries) > MOST_ENTRIES:
            tenant = max(self._of, key=lambda name: len(self._of[name]))
            self._remove((tenant, next(iter(self._of[tenant]))))
        while self._all_characters > MOST_CHARACTERS:
            [(tenant, _)] = self._characters.most_common(1)
            self._remove((tenant, next(iter(self._of[tenant]))))

    def _count(self, tenant: str, characters: int) -> None:
        self._characters[tenant] += characters
        self._all_characters += characters

    def _remove(self, key: CacheKey) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._is_told(key)
            if self._similar is not None:
                self._similar.drop(entry)
            tenant, of_request = key
            del self._of[tenant][of_request]
            self._count(tenant, -_length(entry))
            if not self._of[tenant]:
                del self._of[tenant], self._characters[tenant]


def _length(entry: CacheEntry | None) -> int:
    """Return the characters of an entry's answer, what its tools are called with included."""
    if entry is None:
        return 0
    said = [entry.message.get("content"), *(str(call) for call in entry.message.get("tool_calls") or ())]
    return sum(len(each) for each in said if isinstance(each, str))


def _make_room(remembered: dict[CacheKey, Any]) -> None:
    """Forget the oldest of the keys where there are too many."""
    while len(remembered) >= MOST_FLIGHTS:
        del remembered[next(iter(remembered))]
