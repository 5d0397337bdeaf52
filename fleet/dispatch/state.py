"""What one dispatcher knows of its targets, and the snapshot of it that decisions are made on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog

from fleet.dispatch.patience import pause
from fleet.model.attempt import Answer, Outcome
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.errors import QueueUnavailable
from fleet.model.money import MoneyView
from fleet.model.router import Router, RouterKey
from fleet.model.target import Target
from fleet.model.view import Breaker, TargetView, View
from fleet.ports import JobQueue
from policies import breaker, retry
from policies.rules import Rules

log = structlog.get_logger(__name__)

READ_SECONDS = 0.2
"""How often the depths of WORK are read; a reading costs the broker about half a millisecond."""


class FleetState:
    """Counts and breakers per target, and the calibrations in force. Only frozen values leave it."""

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
        self._in_flight = dict.fromkeys(self._available, 0)
        self._queued: Mapping[str, int] = {}
        self._breakers = dict.fromkeys(self._available, Breaker())
        self.calibrations: Mapping[CalibrationKey, Calibration] = {}
        self.routers: Mapping[RouterKey, Router] = {}
        self._money = money
        self._expected = 0
        self._read = asyncio.Event()

    def view(self) -> View:
        targets = {name: self._target_view(name) for name in self._rules.catalogue.targets}
        return View(targets, self.calibrations, self.routers, self._money())

    def _target_view(self, name: str) -> TargetView:
        if name not in self._available:
            return TargetView(available=False)
        queued, in_flight = self._queued.get(name, 0), self._in_flight[name]
        return TargetView(True, queued, in_flight, self._breakers[name], name in self._own_key_only)

    async def watch(self, queue: JobQueue, stop: asyncio.Event) -> None:
        """Read the depths again and again until `stop` is set."""
        while not await pause(stop, READ_SECONDS):
            try:
                self._queued = await queue.depths()
            except QueueUnavailable as error:
                log.warning("depths_not_read", error=str(error))
                continue
            self._expected = 0
            self._announce()
        self._announce()

    def _announce(self) -> None:
        self._read.set()
        self._read = asyncio.Event()

    async def depths_read(self) -> None:
        """Wait for the next reading."""
        await self._read.wait()

    def expect(self, jobs: int) -> None:
        """Jobs handed over since the last reading; they count as queued until the next one."""
        self._expected += jobs

    def queued_total(self, now: float) -> int:
        """Work that can move: what waits for a target that is away must not keep jobs from the others."""
        moving = (
            jobs
            for target, jobs in self._queued.items()
            if target in self._available and breaker.allows(self._breakers[target], now)
        )
        return sum(moving) + self._expected

    def orphaned(self) -> list[str]:
        """Targets that work waits for and nobody here serves."""
        return [target for target, jobs in self._queued.items() if jobs and target not in self._available]

    def started(self, target: str, jobs: int) -> None:
        self._in_flight[target] += jobs

    def ended(self, target: str, jobs: int) -> None:
        self._in_flight[target] -= jobs

    def in_flight(self, target: str) -> int:
        return self._in_flight[target]

    def record(self, target: Target, outcome: Outcome, given_seconds: float, now: float) -> None:
        """Let the target's breaker learn from an outcome; `given_seconds` is how long the target had for it."""
        failed = retry.blames_target(outcome, given_seconds, target)
        if failed or isinstance(outcome, Answer):
            self._breakers[target.name] = breaker.after(self._breakers[target.name], failed, now, self._rules)
