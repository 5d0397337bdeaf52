"""The state of a dispatcher's targets, and the snapshot of it that decisions are made on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.patience import pause
from fleet.dispatch.state.load import Loads
from fleet.dispatch.state.replicas import Replicas
from fleet.dispatch.state.sojourns import Sojourns
from fleet.dispatch.state.traffic import LOOK_AGAIN_SECONDS, Traffic
from fleet.dispatch.timekeeping import BrokerTime
from fleet.logs import get_logger
from fleet.model.adapter import NO_ADAPTERS
from fleet.model.attempt import Answer, Failure, Outcome
from fleet.model.batched import Observed
from fleet.model.cache_entry import CacheEntry, CacheKey
from fleet.model.caching import CacheCalibration, Near
from fleet.model.delivery import WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.money import MoneyView, NanoUsd
from fleet.model.router import Router, RouterKey
from fleet.model.scaling import Load
from fleet.model.snapshot import TargetSnapshot
from fleet.model.target import Target
from fleet.model.view import Breaker, TargetView, View
from fleet.ports import JobQueue
from policies.budget import is_charged
from policies.fairness import fullness
from policies.resilience import breaker, retry
from policies.rules.rules import Rules

log = get_logger(__name__)

READ_SECONDS = 0.2
"""Interval between readings of the depths of WORK; each costs the broker about half a millisecond."""

PRESSED_READ_SECONDS = 0.05
"""Interval between readings while JOBS fills up: a tenant that floods it is held back as fast as it is read."""

PAUSE_PER_QUEUE_SECONDS = 5e-5
"""Pause per queue: a reading of 10,000 tenants' jobs takes some 50 milliseconds, so it is made every half second."""

UNKNOWN_SLOTS = 8
"""Slots assumed for a target that only another dispatcher's catalogue knows."""


class FleetState:
    """Counts, breakers and replicas per target. Only frozen values leave it."""

    def __init__(
        self,
        available: Iterable[str],
        rules: Rules,
        own_key_only: Collection[str] = (),
        money: Callable[[], MoneyView] = MoneyView,
    ) -> None:
        self._rules = rules
        self._available = frozenset(available)
        self._own_key_only = frozenset(own_key_only)
        self.traffic = Traffic((rules.catalogue.targets[name] for name in self._available), rules.estimates)
        self.replicas = Replicas(rules.catalogue.targets)
        self.replicas.tell(self.announce)
        self.loads = Loads(rules)
        self._breakers = dict.fromkeys(self._available, Breaker())
        self._accounts = dict.fromkeys(self._available, Breaker())
        charged = (rules.catalogue.targets[name] for name in self._available)
        self._unproven = {target.name for target in charged if is_charged(target) and not target.is_batched}
        self.routers: Mapping[RouterKey, Router] = {}
        self.entries: Mapping[CacheKey, CacheEntry] = {}
        self.near: Mapping[tuple[str, str], Near] = {}
        self.cache_promises: Mapping[tuple[str, str], CacheCalibration] = {}
        self.adapters = NO_ADAPTERS
        self.batches: dict[str, tuple[Observed, ...]] = {}
        self.sojourns = Sojourns(self._available)
        self._money = money
        self.readings = self.outages = 0
        self.read_at: float | None = None
        """When the broker last answered a reading of the depths."""
        self.elsewhere: Mapping[str, bool] = {}
        self.away: Mapping[str, bool] = {}
        self._changed = asyncio.Event()

    def view(self, here: bool = False) -> View:
        """Return the snapshot to decide on, with targets that only other dispatchers serve unless `here` is set."""
        elsewhere = {} if here else self.elsewhere
        targets = {name: self._target_view(name, elsewhere.get(name)) for name in self._rules.catalogue.targets}
        cached = (self.entries, self.near, self.cache_promises)
        return View(targets, self.routers, self._money(), *cached, dict(self.batches), self.adapters)

    def _target_view(self, name: str, elsewhere: bool | None) -> TargetView:
        """Return a target's view; `elsewhere`: others serve it only for tenants' own keys; None: they do not."""
        queued = self.traffic.queued.get(name, 0)
        if name not in self._available:
            return TargetView(elsewhere is not None, queued, own_key_only=bool(elsewhere))
        in_flight, sojourns = self.traffic.in_flight(name), self.sojourns.of(name)
        own_key_only = name in self._own_key_only and elsewhere is not False
        capacity, own = self.replicas.of(name), self._breaker(name)
        account = breaker.in_view(self._accounts[name], self.traffic.on_account(name))
        if not account.trips:
            return TargetView(True, queued, in_flight, own, own_key_only, sojourns, capacity)
        until_at, probing = max(own.open_until_at, account.open_until_at), own.probing or account.probing
        facing = replace(own, open_until_at=until_at, probing=probing)
        return TargetView(True, queued, in_flight, facing, own_key_only, sojourns, capacity, True, own)

    def _breaker(self, name: str) -> Breaker:
        """Return the target's breaker, open while its provider wants no calls for long, which is no trip."""
        own = breaker.in_view(self._breakers[name], self.traffic.in_flight(name))
        shut_until_at = self.traffic.shut_until_at(name)
        return own if shut_until_at <= own.open_until_at else replace(own, open_until_at=shut_until_at)

    def free(self, name: str, now: float) -> dict[Lane, int]:
        """Return how many slots each lane may fill now: no more than the target's breaker lets calls through."""
        free = self.traffic.free(name, now)
        if not self._breakers[name].trips and name not in self._unproven:
            return free
        calls = breaker.calls(
            self._breakers[name], self.traffic.in_flight(name), name in self._unproven, now, self._rules
        )
        return {lane: int(min(slots, calls)) for lane, slots in free.items()}

    def shut(self, name: str, now: float) -> tuple[bool, bool]:
        """Return whether the target is shut to jobs now, and whether it is shut to jobs with a tenant's own key."""
        if not (self._breakers[name].trips or self._accounts[name].trips or self.traffic.shut_until_at(name)):
            return False, False
        view = self._target_view(name, self.elsewhere.get(name))
        return not breaker.allows(view.breaker, now), not breaker.allows(breaker.facing(view, True), now)

    def targets_now(self, now: float) -> dict[str, TargetSnapshot]:
        """Return the targets served here as they are now."""
        return {
            name: TargetSnapshot(self.traffic.in_flight(name), self.shut(name, now)[0], self.replicas.of(name))
            for name in sorted(self._available)
        }

    def spent(self) -> NanoUsd:
        """Return what the fleet has spent today, as last seen."""
        return self._money().fleet

    def opens_in(self, name: str, now: float) -> float | None:
        """Return seconds until checking again whether the target takes more calls; None where time alone frees none."""
        seconds = self.traffic.opens_in(name, now)
        opening = self._breakers[name].open_until_at - now
        return seconds if opening <= 0 else min(opening, LOOK_AGAIN_SECONDS, seconds or LOOK_AGAIN_SECONDS)

    async def watch(self, queue: JobQueue, clock: BrokerTime, stop: asyncio.Event) -> None:
        """Read the depths now and repeatedly until `stop` is set."""
        while not stop.is_set():
            await self.read(queue, clock)
            await pause(stop, self._read_again_in())
        self.announce()

    def _read_again_in(self) -> float:
        depths = self.traffic.depths
        pressed = depths.jobs_fill.beyond(fullness.WATCHED_SHARE) > 0
        return max(PRESSED_READ_SECONDS if pressed else READ_SECONDS, PAUSE_PER_QUEUE_SECONDS * len(depths.jobs))

    async def read(self, queue: JobQueue, clock: BrokerTime) -> None:
        """Read once, and set the clock by the broker's."""
        moved, asked_at = self.traffic.moved(), clock.now()
        try:
            depths = await queue.depths()
            if depths.at is not None:
                self._clock_set(clock.heard(depths.at, asked_at, clock.now()))
            self.traffic.read(depths, moved)
            self.read_at = clock.now()
            work = Counter(depths.work) + Counter(self.traffic.direct.by_work())
            self.sojourns.read(asked_at if depths.at is None else depths.at, work)
        except QueueUnavailable as error:
            self.outages += 1
            log.warning("depths_not_read", error=str(error))
        else:
            self.readings += 1
            self.announce()

    def _clock_set(self, step_seconds: float) -> None:
        """Shift the breakers by the step, so that shut targets open when they would have: broker clocks change too."""
        if step_seconds:
            for breakers in (self._breakers, self._accounts):
                breakers |= {name: breaker.put(each, step_seconds) for name, each in breakers.items()}
            self.traffic.clock_set(step_seconds)

    def announce(self) -> None:
        """Announce a change that may let jobs continue: a reading, or room at a target."""
        self._changed.set()
        self._changed = asyncio.Event()

    def next_change(self) -> asyncio.Event:
        """Return the event that the next `announce` sets."""
        return self._changed

    def rooms(self, lane: Lane, now: float) -> dict[str, int]:
        """Return how many more jobs of the lane may be sent to each target served here or elsewhere."""
        rooms = {name: self.traffic.room(name, lane, now) for name in self.traffic.elsewhere}
        return rooms | {name: self._room(name, lane, now) for name in self._available}

    def with_away(self, view: View) -> View:
        """Return the view as it would be if the targets that are away (see `Peers.away`) were back."""
        back = {name: TargetView(own_key_only=own_key) for name, own_key in self.away.items() if name in view.targets}
        return replace(view, targets={**view.targets, **back})

    def note_elsewhere(self, served: Mapping[str, bool], away: Mapping[str, bool]) -> None:
        """Take in what other dispatchers serve (see `Peers`), and what they served until they fell silent."""
        self.away = {name: own_key for name, own_key in away.items() if name not in self._available}
        targets = self._rules.catalogue.targets
        slots = {name: targets[name].max_in_flight if name in targets else UNKNOWN_SLOTS for name in served}
        self.traffic.elsewhere = {name: each for name, each in slots.items() if name not in self._available}
        if served != self.elsewhere:
            self.elsewhere = served
            self.announce()

    def _room(self, name: str, lane: Lane, now: float) -> int:
        own = self._breaker(name)
        if not breaker.allows(own, now):
            return 0
        room = self.traffic.room(name, lane, now)
        return min(1, room) if own.trips else room

    def orphaned(self) -> list[str]:
        """Return the targets that have waiting work and are not served by this dispatcher."""
        return [target for target, jobs in self.traffic.queued.items() if jobs and target not in self._available]

    def record(self, target: Target, outcome: Outcome, given_seconds: float, now: float, own_key: bool = False) -> None:
        """Let the target's breaker learn from an outcome; `given_seconds` is how long the target had for it.

        A failure with a tenant's own key says nothing about the target for anybody else; an answer does.
        """
        name = target.name
        if own_key:
            if isinstance(outcome, Answer):
                self._breakers[name] = breaker.after(self._breakers[name], False, now, self._rules)
            return
        self.traffic.heard(name, outcome, now)
        if retry.is_of_account(outcome):
            self._account_fails(name, outcome, now)
        failed = retry.blames_target(outcome, given_seconds, target)
        if failed:
            self._breakers[name] = breaker.after(self._breakers[name], True, now, self._rules)
            if self._breakers[name].trips and is_charged(target):
                self._unproven.add(name)
        elif isinstance(outcome, Answer):
            self._breakers[name], self._accounts[name] = Breaker(), Breaker()
            self._unproven.discard(name)

    def _account_fails(self, name: str, outcome: Outcome, now: float) -> None:
        """Shut the target to the fleet's account; log the first such failure: only the account's owner can fix it."""
        before = self._accounts[name]
        after = self._accounts[name] = breaker.shut(before, now, self._rules)
        if isinstance(outcome, Failure) and not before.trips:
            seconds = after.open_until_at - now
            log.error(
                "account_unusable", target=name, kind=outcome.kind.value, why=outcome.detail, shut_seconds=seconds
            )

    def passed(self, target: Target, inflight: InFlightJob, outcome: Outcome, started_at: float, now: float) -> None:
        """Learn from an answer how many tokens its job used, and how long jobs of its lane take.

        A delivery that came again says nothing about the latter.
        """
        if not isinstance(outcome, Answer):
            return
        self.loads.answered(inflight.job, target.name, outcome, inflight.probe is not None)
        if inflight.delivery.deliveries == 1:
            work = WorkOf(target.name, inflight.job.lane)
            # A direct job is handed over when it starts; what it waited in JOBS says nothing of the target.
            handed_over_at = started_at if inflight.delivery.is_direct else inflight.delivery.stored_at
            self.sojourns.answered(work, handed_over_at, started_at, now)

    def load(self, dispatcher: str, at: float, cpu_share: float) -> Load:
        """Return a report of this dispatcher's load; `cpu_share` is a share of one core."""
        load = self.loads.report(dispatcher, at, self.traffic.running(), cpu_share)
        own_key_only, direct = self._own_key_only & self._available, self.traffic.direct.by_work()
        return replace(
            load,
            serves=self._available,
            own_key_only=own_key_only,
            direct=direct,
            shut=self._shut_until(at),
            replicas=self.replicas.known,
            replicas_at=self.replicas.read_at,
        )

    def _shut_until(self, now: float) -> dict[str, float]:
        """Return the targets that are shut to the fleet's own jobs, and when each opens again."""
        shut = (name for name in self._available if self.shut(name, now)[0])
        return {name: self._target_view(name, None).breaker.open_until_at for name in shut}
