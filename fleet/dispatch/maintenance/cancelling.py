"""Cancelled jobs: those that wait are answered at once, those that run are stopped, those that have ended are left."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.patience import ANSWER_SECONDS, PAUSE_SECONDS, insist, pause, until_stopped
from fleet.dispatch.state.wishes import MOST_OF_TENANT, Wishes
from fleet.logs import get_logger
from fleet.model.cancellation import Cancellation
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Result, Status
from fleet.ports import Cancels, Clock, JobQueue
from policies.resilience.cancellation import CANCELLED

log = get_logger(__name__)

KEPT_SECONDS = 86_400.0
MOST_KEPT = 100_000
"""Limits of the cancellations remembered over all tenants. For forgotten ones the broker is asked before a job runs."""

AHEAD_OF_JOBS = 1000
AHEAD_SECONDS = 3600.0
"""Maximum wishes of a tenant answered in this many seconds although none of its jobs is known to wait."""

GRACE_SECONDS = 0.1
"""Wait before answering a job that does not run here: a dispatcher that runs it knows its cost and should be first."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Jobs by what the broker says about them: `open` ones need an answer; it has not answered for `unknown` ones."""

    open: list[InFlightJob]
    called_off: list[InFlightJob] = field(default_factory=list)
    ended: list[InFlightJob] = field(default_factory=list)
    unknown: list[InFlightJob] = field(default_factory=list)

    def of(self, status: Status | None) -> list[InFlightJob]:
        if status is None:
            return self.open
        return self.called_off if status is Status.CANCELLED else self.ended


class Cancelling:
    """The cancellations that one dispatcher knows of, and what it does about them."""

    def __init__(self, cancels: Cancels, queue: JobQueue, clock: Clock) -> None:
        self._cancels = cancels
        self._queue = queue
        self._clock = clock
        self._called_off = Wishes(MOST_KEPT, MOST_OF_TENANT, KEPT_SECONDS)
        self._ahead = _Ahead()
        self._known_since = math.inf
        self.current = asyncio.Event()
        """Set while every stored wish is known here, or was known and is forgotten."""
        self._running: dict[Cancellation, list[Callable[[], None]]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def holds(self, inflight: InFlightJob) -> bool:
        """Return whether the job is cancelled; a comparison is cancelled with the job it belongs to."""
        return bool(self._called_off) and _key(inflight) in self._called_off  # most of the time there is none

    def doubts(self, inflight: InFlightJob) -> bool:
        """Return whether the job may be cancelled, or have its result, without this dispatcher's knowledge.

        That is so for jobs handed out before, for jobs older than the wishes known here, and for the jobs of a tenant
        some of whose wishes are forgotten here.
        """
        known_since = max(self._known_since, self._clock.now() - KEPT_SECONDS)
        is_old = inflight.delivery.deliveries > 1 or inflight.job.submitted_at <= known_since
        return is_old or self._called_off.has_forgotten(inflight.job.tenant)

    async def look_up(self, jobs: list[InFlightJob]) -> LookedUp:
        """Ask the broker about those of the jobs that may have ended without this dispatcher's knowledge."""
        doubtful = [inflight for inflight in jobs if self.doubts(inflight)]
        if not doubtful:
            return LookedUp(jobs)
        found = LookedUp([inflight for inflight in jobs if not self.doubts(inflight)])
        try:
            statuses = await insist(lambda: self._ended(doubtful), ANSWER_SECONDS)
        except QueueUnavailable as error:
            log.warning("old_jobs_not_looked_up", jobs=len(doubtful), error=str(error))
            return replace(found, unknown=doubtful)
        for inflight, status in zip(doubtful, statuses, strict=True):
            if status is Status.CANCELLED:
                self._called_off.add(_key(inflight), self._clock.now())
            found.of(status).append(inflight)
        return found

    async def _ended(self, jobs: Sequence[InFlightJob]) -> Sequence[Status | None]:
        """Return how the jobs have ended, by a result or a wish, as the broker knows. Raises QueueUnavailable."""
        keys = [_key(inflight) for inflight in jobs]
        outcomes, wished = await asyncio.gather(self._cancels.outcomes(keys), self._cancels.stored(keys))
        # A comparison comes after the result of its job.
        known = [None if inflight.shadow else outcome for inflight, outcome in zip(jobs, outcomes, strict=True)]
        return [outcome or (Status.CANCELLED if wish else None) for outcome, wish in zip(known, wished, strict=True)]

    async def answered(self, jobs: Sequence[InFlightJob]) -> Sequence[bool]:
        """Return which of the jobs have their result already. Raises QueueUnavailable."""
        found = await self._cancels.outcomes([Cancellation(inflight.job.tenant, inflight.job.id) for inflight in jobs])
        return [status is not None for status in found]

    @contextmanager
    def watching(self, jobs: Mapping[int, InFlightJob], call_off: Callable[[int], None]) -> Iterator[None]:
        """Call `call_off` with the index of each job that is cancelled before the block ends, to end it at once."""
        registered = [(_key(inflight), lambda index=index: call_off(index)) for index, inflight in jobs.items()]
        for key, stop in registered:
            self._running.setdefault(key, []).append(stop)
        try:
            yield
        finally:
            for key, stop in registered:
                self._running[key].remove(stop)
                if not self._running[key]:
                    del self._running[key]

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the wishes until `stop` is set."""
        await until_stopped(self._follow(stop), stop, self._answering)

    async def _follow(self, stop: asyncio.Event) -> None:
        async for cancellations in self._cancels.follow(self._told_all):
            waiting = self.take(cancellations)
            if waiting:
                task = asyncio.create_task(self._answer_in_a_moment(waiting, stop))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    def _told_all(self, known_since: float | None) -> None:
        """Note that jobs submitted after `known_since` need not be looked up from now on; None: all have to be."""
        if known_since is None:
            self._known_since = math.inf
            self.current.clear()
        elif not self.current.is_set():
            self._known_since = known_since
            self.current.set()

    def take(self, cancellations: Sequence[Cancellation]) -> list[Cancellation]:
        """Remember the new wishes and stop their jobs that run here; return those whose jobs do not run here."""
        now = self._clock.now()
        self._called_off.expire(now)
        fresh = [each for each in dict.fromkeys(cancellations) if each not in self._called_off]
        for each in fresh:
            self._called_off.add(each, now)
        for each in fresh:
            for stop in list(self._running.get(each, ())):
                stop()
        return [each for each in fresh if each not in self._running]

    async def _answer_in_a_moment(self, waiting: Sequence[Cancellation], stop: asyncio.Event) -> None:
        await pause(stop, GRACE_SECONDS)
        while True:
            try:
                return await self._answer(waiting)
            except QueueUnavailable as error:
                log.warning("cancelled_jobs_not_answered", jobs=len(waiting), error=str(error))
            if await pause(stop, PAUSE_SECONDS):
                return None  # the wishes are stored: the next dispatcher reads them again

    async def _answer(self, waiting: Sequence[Cancellation]) -> None:
        """Publish the results of jobs that have none. A job with another result is not cancelled after all."""
        found = await self._cancels.outcomes(waiting)
        open_ = [each for each, status in zip(waiting, found, strict=True) if status is None]
        due, now = await self._due(open_), self._clock.now()
        await self._queue.publish([_result(each, now) for each in due])
        for each, status in zip(waiting, await self._cancels.outcomes(waiting), strict=True):
            if status not in (None, Status.CANCELLED):
                self._called_off.discard(each)
                log.info("cancelled_too_late", job_id=each.job_id, tenant=each.tenant, status=status)

    async def _due(self, open_: Sequence[Cancellation]) -> Sequence[Cancellation]:
        """Return the wishes to answer now. Answering invented job ids would store results that nobody asked for.

        At most AHEAD_OF_JOBS more of a tenant's wishes are answered than it has jobs; the rest when their job comes.
        """
        now, wanted = self._clock.now(), Counter(each.tenant for each in open_)
        jobs = Counter[str]()
        if any(self._ahead.of(tenant, now) + count > AHEAD_OF_JOBS for tenant, count in wanted.items()):
            depths = await self._queue.depths()
            jobs += Counter(depths.in_flight)
            for source, count in depths.jobs.items():
                jobs[source.tenant or ""] += count
        due = [each for each in open_ if self._ahead.allows(each.tenant, AHEAD_OF_JOBS + jobs[each.tenant], now)]
        if len(due) < len(open_):
            log.warning("cancellations_without_jobs", left=len(open_) - len(due), tenants=len(wanted))
        return due


class _Ahead:
    """Counts the wishes that were answered before their job was seen, by tenant, for some time."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._until = -math.inf

    def of(self, tenant: str, now: float) -> int:
        if now >= self._until:
            self._counts, self._until = Counter(), now + AHEAD_SECONDS
        return self._counts[tenant]

    def allows(self, tenant: str, most: int, now: float) -> bool:
        """Return whether one more wish may be answered, and count it if so."""
        if self.of(tenant, now) >= most:
            return False
        self._counts[tenant] += 1
        return True


def _key(inflight: InFlightJob) -> Cancellation:
    return Cancellation(inflight.job.tenant, inflight.job.id if inflight.shadow is None else inflight.shadow.job_id)


def _result(each: Cancellation, now: float) -> Result:
    return Result(each.job_id, each.tenant, CANCELLED.status, CANCELLED.reason, now, problem=CANCELLED.problem)
