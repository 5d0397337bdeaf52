"""The outcome of a stage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fleet.dispatch.in_flight import InFlightJob
from fleet.model.delivery import Transition


@dataclass(frozen=True, slots=True)
class Passed:
    """Those that `go_on`, and what is sent for those that leave; nothing for some that come back with their lease."""

    go_on: list[InFlightJob]
    leaving: Sequence[Transition] = ()
    patience_seconds: float = 0.0
    """How long an outage of the broker is waited out with what leaves."""


Stage = Callable[[list[InFlightJob]], Awaitable[Passed]]
