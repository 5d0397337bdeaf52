"""The replicas of a dispatcher's targets, as last read: which targets are cold, and since when one is starting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from fleet.dispatch.patience import pause
from fleet.logs import get_logger
from fleet.model.errors import BackendUnavailable
from fleet.model.scaling import Capacity
from fleet.ports import Capacities, Clock

log = get_logger(__name__)

READ_SECONDS = 2.0
"""Interval between requests to Serve; each costs its controller about 3 milliseconds."""

ANSWER_SECONDS = 10.0

STALE_SECONDS = 30.0
"""Age at which a reading is discarded: calls are made then, and fail where nobody answers them."""


class Replicas:
    """The last reading of these targets; other applications on the cluster are left out. One it lacks is not cold."""

    def __init__(self, targets: Collection[str]) -> None:
        self._targets = targets
        self.known: Mapping[str, Capacity] = {}
        self.read_at: float | None = None
        """When Serve last answered; None where nobody asks it."""
        self._told: list[Callable[[], None]] = []
        self._failed = False

    def of(self, target: str) -> Capacity | None:
        return self.known.get(target)

    def cold(self, target: str) -> bool:
        capacity = self.known.get(target)
        return capacity is not None and capacity.cold

    def tell(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` whenever a target has become cold or warm."""
        self._told.append(on_change)

    async def watch(self, capacities: Capacities, clock: Clock, stop: asyncio.Event) -> None:
        """Read again and again, until `stop` is set."""
        while not await pause(stop, READ_SECONDS):
            await self.read(capacities, clock)

    async def read(self, capacities: Capacities, clock: Clock) -> None:
        """Read once. If that fails, the last reading holds for STALE_SECONDS; an outage is logged once."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await capacities.read()
        except (BackendUnavailable, TimeoutError) as error:
            if not self._failed:
                log.warning("replicas_not_read", error=str(error) or "no answer")
            self._failed = True
            self.forget_stale(clock.now())
        else:
            self._failed = False
            self.note(found, clock.now())

    def note(self, found: Mapping[str, Capacity], now: float) -> None:
        """Take in a reading."""
        self.read_at = now
        known = {target: capacity for target, capacity in found.items() if target in self._targets}
        self._replace({target: self._dated(target, capacity, now) for target, capacity in known.items()})

    def _dated(self, target: str, capacity: Capacity, now: float) -> Capacity:
        """Return the capacity; if it is starting and undated, with the time when this dispatcher first saw it start."""
        if not capacity.starting or capacity.starting_at is not None:
            return capacity
        before = self.known.get(target)
        since = before.starting_at if before is not None else None
        return replace(capacity, starting_at=now if since is None else since)

    def forget_stale(self, now: float) -> None:
        """Discard the last reading once it is too old."""
        if self.read_at is not None and now - self.read_at > STALE_SECONDS:
            self._replace({})

    def _replace(self, known: Mapping[str, Capacity]) -> None:
        before = {target for target in self.known if self.cold(target)}
        self.known = known
        changed = before ^ {target for target in known if self.cold(target)}
        for target in sorted(changed):
            log.info("target_cold" if self.cold(target) else "target_warm", target=target)
        if changed:
            for on_change in self._told:
                on_change()
