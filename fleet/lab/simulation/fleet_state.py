"""The state that decisions are made on: production's view, over simulated targets and simulated money."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from fleet.lab.simulation.sojourns import SeenSojourns, SimulatedSojourns
from fleet.model.attempt import Answer, Outcome
from fleet.model.job import Lane
from fleet.model.money import MoneyView, NanoUsd
from fleet.model.scaling import Capacity
from fleet.model.target import Target
from fleet.model.view import Breaker, Sojourn, TargetView, View
from policies import money
from policies.resilience import breaker, retry
from policies.rules.rules import Rules

MONEY_STEPS = 200
"""Steps of the limit to which decisions see spent money rounded up, so that few of them differ by it."""


class SimulatedFleetState:
    """The state of the simulated fleet.

    `stamp` changes whenever a decision may: a breaker opens or closes, a target gets cold or warm, money goes.
    `cold` says that a target is cold, `warming` that one of those has a replica that starts: then decisions depend on
    the time.
    """

    def __init__(
        self,
        rules: Rules,
        available: frozenset[str],
        capacities: Callable[[], Mapping[str, Capacity]],
        stored: Callable[[str, Lane], int],
    ) -> None:
        self._rules = rules
        self._available = available
        self._capacities = capacities
        self._breakers = dict.fromkeys(available, Breaker())
        self._shut_until = dict.fromkeys(available, 0.0)
        self._view: tuple[int, SeenSojourns, View] | None = None
        self.sojourns = SimulatedSojourns(rules.catalogue.targets, capacities, stored)
        self._limit = money.nano_of(rules.money.daily_usd)
        self._step = max(1, self._limit // MONEY_STEPS)
        self._day = 0
        self._spent = self._open = self._level = 0
        self.stamp = 0
        self._cold: dict[str, Capacity] = {}

    def touch(self) -> None:
        """Note a change that decisions depend on."""
        self.stamp += 1

    def note_capacities(self) -> None:
        """Note that replicas came or went. Decisions depend on those of cold targets only."""
        cold = {name: capacity for name, capacity in self._capacities().items() if capacity.cold}
        if cold != self._cold:
            self._cold = cold
            self.touch()

    @property
    def cold(self) -> bool:
        return bool(self._cold)

    @property
    def warming(self) -> bool:
        return any(capacity.starting for capacity in self._cold.values())

    def view(self, now: float) -> View:
        """Return the view, the same one until `stamp` changes or the sojourns do."""
        sojourns = self.sojourns.at(now)
        if self._view is None or self._view[0] != self.stamp or self._view[1] is not sojourns:
            capacities = self._capacities()
            targets = {
                name: self._target(name, capacities.get(name), sojourns.get(name, {}))
                for name in self._rules.catalogue.targets
            }
            self._view = self.stamp, sojourns, View(targets, money=MoneyView(fleet=self._level * self._step))
        return self._view[2]

    def _target(self, name: str, capacity: Capacity | None, sojourns: Mapping[Lane, Sojourn]) -> TargetView:
        if name not in self._available:
            return TargetView(available=False)
        return TargetView(breaker=self._breaker(name), capacity=capacity, sojourns=sojourns)

    def _breaker(self, name: str) -> Breaker:
        """Return the breaker; as in production, a target whose provider wants no calls for long counts as shut."""
        own, shut = self._breakers[name], self._shut_until[name]
        return own if shut <= own.open_until_at else Breaker(own.failures, own.trips, shut)

    def record(self, target: Target, outcome: Outcome, given_seconds: float, now: float) -> float | None:
        """Let the breaker learn; return until when it is open, if it opens now."""
        before = self._breakers[target.name]
        failed = retry.blames_target(outcome, given_seconds, target)
        if not failed and (before.failures == 0 or not isinstance(outcome, Answer)):
            return None
        after = self._breakers[target.name] = breaker.after(before, failed, now, self._rules)
        if after.open_until_at != before.open_until_at:
            self.touch()
        return after.open_until_at if after.open_until_at > max(now, before.open_until_at) else None

    def shut(self, name: str, until: float) -> bool:
        """Shut a target whose provider wants no calls until then; return whether that is new."""
        if until <= self._shut_until[name]:
            return False
        self._shut_until[name] = until
        self.touch()
        return True

    def reserve(self, amount: NanoUsd, now: float) -> bool:
        """Set money aside for a call if the day's limit allows it; return whether it did."""
        if (day := money.day_of(now)) != self._day:
            self._day, self._spent = day, 0
        if self._spent + self._open + amount > self._limit:
            return False
        self._open += amount
        self._note_money()
        return True

    def settle(self, reserved: NanoUsd, actual: NanoUsd) -> None:
        self._open -= reserved
        self._spent += actual
        self._note_money()

    def new_day(self, now: float) -> None:
        if (day := money.day_of(now)) != self._day:
            self._day, self._spent = day, 0
            self._note_money()

    def _note_money(self) -> None:
        level = math.ceil((self._spent + self._open) / self._step)
        if level != self._level:
            self._level = level
            self.stamp += 1
