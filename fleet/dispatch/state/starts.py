"""Learns how long targets take to start, from the replicas that this dispatcher reads of Serve anyway."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleet.logs import get_logger
from fleet.model.errors import QueueUnavailable
from fleet.model.scaling import Capacity, ObservedStart
from fleet.ports import Capacities, Clock, ColdStartBook
from policies.rules.catalogue import Catalogue
from policies.scaling.cold_starts import expected

log = get_logger(__name__)

READ_SECONDS = 60.0
"""Interval between readings of what all dispatchers have seen."""


class LearnedCapacities:
    """Implements `fleet.ports.Capacities`: what `source` says, with the time that a start is expected to take.

    Only a start whose beginning was seen counts: a target that had no replica, and then one that starts.
    """

    def __init__(
        self,
        source: Capacities,
        book: ColdStartBook,
        catalogue: Catalogue,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._book = book
        self._targets = {name: each for name, each in catalogue.targets.items() if each.serving is not None}
        self._clock = clock
        self._monotonic = monotonic
        self._seen: Mapping[str, Sequence[ObservedStart]] = {}
        self._due_at = float("-inf")
        self._before: Mapping[str, Capacity] = {}
        self._began: dict[str, float] = {}

    async def read(self) -> Mapping[str, Capacity]:
        """Return the capacity of each target. Raises: BackendUnavailable as the source does."""
        found = await self._source.read()
        now = self._monotonic()
        for target, seconds in self._over(found, now).items():
            await self._add(target, ObservedStart(seconds, self._clock.now()))
        if now >= self._due_at:
            await self._read(now)
        return {target: self._with_start(target, capacity) for target, capacity in found.items()}

    def _over(self, found: Mapping[str, Capacity], now: float) -> Mapping[str, float]:
        """Return the targets whose first replica is there since the reading before, with the seconds it took."""
        over = {}
        for target in self._targets.keys() & found.keys():
            capacity, before = found[target], self._before.get(target)
            began = self._began.get(target)
            if not capacity.cold:
                self._began.pop(target, None)
                if began is not None:
                    over[target] = now - began
            elif not capacity.starting:
                self._began.pop(target, None)
            elif began is None and before is not None and before.cold and not before.starting:
                self._began[target] = now
        self._before = found
        return over

    async def _add(self, target: str, start: ObservedStart) -> None:
        log.info("cold_start_seen", target=target, seconds=round(start.seconds, 1))
        try:
            self._seen = {**self._seen, target: await self._book.add(target, start)}
        except QueueUnavailable as error:
            log.warning("cold_start_not_stored", target=target, error=str(error))

    async def _read(self, now: float) -> None:
        self._due_at = now + READ_SECONDS
        try:
            self._seen = await self._book.read()
        except QueueUnavailable as error:  # what was known holds
            log.debug("cold_starts_not_read", error=str(error))

    def _with_start(self, target: str, capacity: Capacity) -> Capacity:
        known = self._targets.get(target)
        if known is None or known.serving is None:
            return capacity
        return replace(capacity, cold_start=expected(known.serving.cold_seconds, self._seen.get(target, ())))
