"""Intake: takes jobs from their lanes and hands each to its first target, or answers it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleet.dispatch.intake.fair_lane import FairLane
from fleet.dispatch.patience import until_stopped
from fleet.model.job import FAIR_LANES, Lane


class Intake:
    """The intake loops, one per lane. Tenants take turns in each; the broker announces interactive jobs at once."""

    def __init__(self, fair: Callable[[Lane], FairLane]) -> None:
        self._lanes = {lane: fair(lane) for lane in FAIR_LANES}

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for lane, fair in self._lanes.items():
                group.create_task(fair.run(stop))
                if lane is Lane.INTERACTIVE:
                    group.create_task(until_stopped(fair.hear(), stop, set()))
