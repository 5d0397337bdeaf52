"""Intake: takes jobs from their lanes and hands each to the first target, or answers it at once."""

from __future__ import annotations

import asyncio

from fleet.dispatch.intake.fair_lane import FairLane
from fleet.dispatch.intake.quotas import Quotas
from fleet.dispatch.office import Office
from fleet.dispatch.patience import until_stopped
from fleet.model.job import FAIR_LANES, Lane


class Intake:
    """A loop per lane. In each of them tenants take turns; of interactive jobs the broker tells as they come."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._quotas = Quotas(office)

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in FAIR_LANES:
                fair = FairLane(lane, self._office, self._quotas)
                group.create_task(fair.run(stop))
                if lane is Lane.INTERACTIVE:
                    group.create_task(until_stopped(fair.hear(), stop, set()))
