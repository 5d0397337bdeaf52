"""Runner: takes the work waiting for one target, runs it in micro-batches and sends off what is decided next."""

from __future__ import annotations

import asyncio

from fleet.dispatch.runner.buffer import Buffer
from fleet.dispatch.runner.collector import Collector
from fleet.dispatch.runner.feeder import Feeder
from fleet.dispatch.runner.turns import Turns


class Runner:
    """The loops of one dispatcher for one target. No more than `target.max_in_flight` jobs run at once."""

    def __init__(self, collector: Collector, buffer: Buffer, feeder: Feeder, turns: Turns) -> None:
        self._collector = collector
        self._buffer = buffer
        self._feeder = feeder
        self._turns = turns

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then hand back the jobs that only wait and finish those that run."""
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(self._collector.run(stop))
            feeding = group.create_task(self._feeder.run())
            await stop.wait()
            self._buffer.close()
            self._turns.drain()
            await collecting
            feeding.cancel()
        await self._collector.hand_back()
        await self._feeder.finish()
