"""The outcome of a stage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fleet.dispatch.in_flight import InFlightJob
from fleet.model.delivery import Transition


@dataclass(frozen=True, slots=True)
class Passed:
    """The jobs that `go_on`, and transitions for those leaving; jobs with neither come back when their lease ends."""

    go_on: list[InFlightJob]
    leaving: Sequence[Transition] = ()
    patience_seconds: float = 0.0
    """Time to wait out an outage of the broker when sending `leaving`."""


Stage = Callable[[list[InFlightJob]], Awaitable[Passed]]
