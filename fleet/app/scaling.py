"""The readings that the scaling policies decide by, over one connection per process for the policies of all targets.

The policies run in Serve's controller, whose environment holds the broker's address and our login: on one machine it is
that of `fleet up`; on a cluster that of `ray start --head`, and `controller_options` of the file for `serve deploy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from fleet.app.broker import login_of
from fleet.app.worker import SystemClock, rules_of
from fleet.logs import get_logger, in_short
from fleet.model.delivery import Depths
from fleet.model.scaling import Load
from fleet.ports import Clock
from fleet.settings.environment import LOCAL_NATS_URL, Settings, load
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.load import JetStreamLoads

POLL_SECONDS = 1.0
"""Seconds between two looks: as often as dispatchers report."""

Look = tuple[Depths, Sequence[Load]]

log = get_logger("ray.serve")
"""Serve's own logger: the lines are in its controller's log."""


class SharedReadings:
    """Implements `deployments.scaling.Readings`: a call for the readings starts the next look in a task if one is due.

    No loop runs in the background, so nothing keeps this object alive and nothing has to be stopped.
    """

    def __init__(self, look: Callable[[], Awaitable[Look]], rules: Rules, clock: Clock) -> None:
        self.rules = rules
        self._look = look
        self._clock = clock
        self._seen: Look | None = None
        self._seen_at = 0.0
        self._next_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    def latest(self, now: float) -> Look | None:
        is_time = not self._next_at - POLL_SECONDS <= now < self._next_at  # a clock may step back
        if is_time and (self._task is None or self._task.done()):
            self._next_at = now + POLL_SECONDS
            self._task = asyncio.get_running_loop().create_task(self._poll())
        return self._seen if now - self._seen_at <= self.rules.scaling.stale_seconds else None

    async def _poll(self) -> None:
        trouble = ""
        try:
            async with asyncio.timeout(self.rules.scaling.stale_seconds):
                self._seen = await self._look()
            self._seen_at = self._clock.now()
        except Exception as error:  # any error: what was seen holds until it is too old
            trouble = in_short(error)
        if trouble and trouble != self._trouble:
            log.warning("scaling_broker_away", error=trouble)
        elif self._trouble and not trouble:
            log.info("scaling_broker_back")
        self._trouble = trouble


class BrokerLook:
    """Looks at the queue and the reports; connects at the first look, and again if the connection closes for good."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    async def __call__(self) -> Look:
        """Return the queue's depths and the dispatchers' reports.

        Raises: QueueUnavailable; ConfigError if the login is refused.
        """
        if self._connection is None:
            url, login = self._settings.nats_url or LOCAL_NATS_URL, login_of(self._settings)
            self._connection = await connect(url, name="fleet-scaling", login=login, on_closed=self._gone)
        queue, loads = JetStreamQueue(self._connection), JetStreamLoads(self._connection)
        seen, reported = await asyncio.gather(queue.depths(), loads.read())
        return seen, reported

    def _gone(self) -> None:
        self._connection = None


@cache
def readings_from_environment() -> SharedReadings:
    """Return the readings of this process.

    Raises: ConfigError; the call may be repeated then.
    """
    settings = load()
    return SharedReadings(BrokerLook(settings), rules_of(settings), SystemClock())
