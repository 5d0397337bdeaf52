"""The tenants of one lane as a dispatcher knows them: their jobs waiting with the broker, and those held here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from fleet.dispatch.in_flight import InFlightJob

WINDOW = 32
"""Maximum jobs of a tenant that are held because their target has no room."""

MOST_HELD = 1024
"""Maximum jobs of a lane that are held: with many tenants, fewer of each."""

MOST_HOLDING = 48
"""Maximum tenants of a lane with held jobs. The broker keeps a consumer for each."""

REMEMBERED_SECONDS = 600.0
MOST_REMEMBERED = 256
"""Seconds to listen to a tenant after its last job, and the maximum of tenants without jobs that are remembered."""

ASK_AGAIN_SECONDS = 0.25
MOST_ASK_AGAIN_SECONDS = 30.0
"""Half the first, and the maximum, wait before asking again for jobs that are counted but in others' hands."""

LARGE_TAKE_BYTES = 256 * 1024
"""Size from which a take may have left jobs behind: the broker limits takes by bytes as well."""

MOST_PUT_OFF = 10_000
"""Maximum delayed jobs remembered per tenant; further ones are asked for as if they were not delayed."""


@dataclass(frozen=True, slots=True)
class ParkedJob:
    """A job that cannot continue to `target`, or whose tenant has too much in flight."""

    inflight: InFlightJob
    target: str
    look_again_at: float


@dataclass(slots=True)
class Line:
    """A tenant's queue: how many jobs it should hold (`waiting`), and how many of them are too many (`surplus`).

    `job_bytes` is the mean size of its jobs, as last seen. `counted` is the number of jobs in the last reading,
    `announced` the number announced since and not brought yet. The tenant is not asked before `ask_at` while it has
    no more jobs than `barren`, and it rests until `rests_until` because `rests_for` has no room; both times in unix
    seconds. `put_off` maps the ids of jobs that their publisher has delayed to when each is due, the first at `due_at`.
    """

    waiting: int = 0
    surplus: int = 0
    crowds: bool = False
    seen_at: float = 0.0
    held: list[ParkedJob] = field(default_factory=list)
    held_since: float = 0.0
    poll: asyncio.Task[None] | None = None
    job_bytes: float = 0.0
    counted: int = 0
    announced: int = 0
    barren: int = 0
    fruitless: int = 0
    ask_at: float = 0.0
    rests_for: str = ""
    rests_until: float = 0.0
    put_off: dict[str, float] = field(default_factory=dict)
    due_at: float = inf

    @property
    def busy(self) -> bool:
        """Return whether there may be something to do once there is room."""
        return bool(self.waiting or self.held or self.surplus)

    @property
    def held_bytes(self) -> int:
        return sum(len(held.inflight.delivery.raw) for held in self.held)

    def hold(self, held: ParkedJob, now: float) -> None:
        if not self.held:
            self.held_since = now
        self.held.append(held)

    @property
    def asleep(self) -> bool:
        """Return whether the tenant has only jobs that are not due yet."""
        return bool(self.put_off) and not self.busy and not self.poll

    @property
    def may_be_listened_to(self) -> bool:
        """Return whether a poll would wait: a new consumer would hand out delayed jobs again and again."""
        return not self.waiting and not self.poll and not self.put_off

    def delay(self, job_id: str, until: float) -> None:
        """Remember not to ask for the job before `until`: it waits with the broker."""
        if len(self.put_off) < MOST_PUT_OFF:
            self.put_off[job_id] = until
            self.due_at = min(self.due_at, until)
        if len(self.put_off) >= self.counted:  # that is all; the next reading shows what has come since
            self.waiting = min(self.waiting, max(0, self.announced))

    def came(self, job_id: str) -> None:
        """Note that the job is here and no longer waits with the broker."""
        self.put_off.pop(job_id, None)

    @property
    def to_ask_for(self) -> int:
        """Number of jobs to ask for, delayed ones included: a new consumer hands those out first."""
        return self.waiting + len(self.put_off)

    def _forget_due(self, now: float) -> None:
        if now >= self.due_at:
            self.put_off = {job_id: until for job_id, until in self.put_off.items() if until > now}
            self.due_at = min(self.put_off.values(), default=inf)
            self.fruitless, self.ask_at = 0, 0.0

    def may_be_asked(self, rooms: Mapping[str, int], now: float) -> bool:
        """Return whether the tenant has jobs to take and does not rest for lack of room."""
        if not self.waiting or self.poll:
            return False
        return now >= self.rests_until or rooms.get(self.rests_for, 0) > 0

    def asked(self, jobs: int, came: int, came_bytes: int, now: float) -> None:
        """Learn from what a take of `jobs` jobs brought: if it brought all, there may be more.

        A take brings fewer if there are no more, or if they are large.
        """
        self.announced -= came
        more = came >= jobs or came_bytes >= LARGE_TAKE_BYTES
        self.waiting = max(1, self.waiting - came) if more else 0
        if came:
            self.fruitless, self.ask_at = 0, 0.0
            return
        self.fruitless += 1
        self.barren = self.counted
        self.ask_at = now + min(MOST_ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS * 2.0 ** min(self.fruitless, 16))

    def count(self, jobs: int, now: float) -> None:
        """Take in a reading. A tenant that is listened to has no jobs to take."""
        more, self.counted, self.announced = jobs - self.counted, jobs, 0
        self._forget_due(now)
        barren = jobs <= self.barren and now < self.ask_at <= now + MOST_ASK_AGAIN_SECONDS  # a clock may be put back
        # Another dispatcher may have ended some of the delayed jobs, so ask at least for what has come since.
        expected = max(more if self.put_off else 0, jobs - len(self.held) - len(self.put_off))
        self.waiting = 0 if self.poll or barren else max(0, expected)

    def announce(self) -> None:
        """Count one more job that came in; the poll may have brought it already, or will bring it."""
        self.announced += 1
        if self.announced > 0:
            self.ask_at = 0.0
            if self.poll is None:
                self.waiting = max(self.waiting, self.announced)

    def listened(self, jobs: int, came: int) -> None:
        """Learn from what a poll for `jobs` jobs brought: if it brought fewer, only announced ones are left."""
        self.announced -= came
        self.waiting = jobs if came >= jobs else max(0, self.announced)


class Lines:
    """The lines by tenant. Only the latest few tenants without jobs are remembered, so that idle ones cost nothing.

    Lines asleep are kept apart: only readings look at them.
    """

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._asleep: dict[str, Line] = {}

    def __getitem__(self, tenant: str) -> Line:
        return self._lines[tenant]

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[tuple[str, Line]]:
        return iter(self._lines.items())

    def of(self, tenant: str) -> Line:
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = self._asleep.pop(tenant, Line())
        return line

    @property
    def busy(self) -> bool:
        return any(line.busy for line in self._lines.values())

    def holding(self) -> list[str]:
        """Return the tenants with held jobs."""
        return [tenant for tenant, line in self._lines.items() if line.held]

    def count(self, found: Mapping[str, int], now: float) -> None:
        """Take in a reading: the jobs of every tenant that has any."""
        for tenant, jobs in found.items():
            line = self._asleep.get(tenant) or self.of(tenant)
            line.count(jobs, now)
            if line.waiting:
                self.of(tenant)
        self._asleep = {tenant: line for tenant, line in self._asleep.items() if tenant in found}
        quiet = []
        for tenant, line in self._lines.items():
            if tenant not in found:
                line.waiting = line.surplus = line.counted = line.barren = 0
                if not line.held and not line.poll:
                    quiet.append(tenant)
                    line.put_off, line.due_at = {}, inf
        self._forget(quiet, now)
        for tenant in [tenant for tenant, line in self._lines.items() if line.asleep]:
            self._asleep[tenant] = self._lines.pop(tenant)

    def _forget(self, quiet: list[str], now: float) -> None:
        quiet.sort(key=lambda tenant: self._lines[tenant].seen_at, reverse=True)
        for number, tenant in enumerate(quiet):
            if number >= MOST_REMEMBERED or now - self._lines[tenant].seen_at > REMEMBERED_SECONDS:
                del self._lines[tenant]
