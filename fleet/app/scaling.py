"""What the scaling policies decide by: one connection per process, shared by the policies of all targets.

They run in Serve's controller, whose environment says where the broker is and who we are there: on one machine it is
that of `fleet up`; on a cluster that of `ray start --head`, and `controller_options` of the file for `serve deploy`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import cache

from fleet.app.desk import login_of
from fleet.app.worker import SystemClock, rules_of
from fleet.model.delivery import Depths
from fleet.model.scaling import Load
from fleet.ports import Clock
from fleet.settings.environment import LOCAL_NATS_URL, Settings, load
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.load import JetStreamLoads

POLL_SECONDS = 1.0
"""As often as dispatchers report."""

Look = tuple[Depths, Sequence[Load]]

_log = logging.getLogger("ray.serve")


class SharedReadings:
    """`deployments.scaling.Readings`: looks again in a task of its own whenever somebody asks and it is time.

    No loop runs behind it, so nothing keeps it alive and nothing has to be stopped.
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
        except Exception as error:  # whatever it is; what was seen holds until it is too old
            trouble = f"{type(error).__name__}: {error}"
        if trouble != self._trouble:
            _log.warning("scaling: %s", f"the queue cannot be read: {trouble}" if trouble else "the queue can be read")
            self._trouble = trouble


class BrokerLook:
    """One look at the queue and the reports; connects at the first, and again after a connection was given up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Connection | None = None

    async def __call__(self) -> Look:
        """Raises `QueueUnavailable`, `ConfigError` where the login is refused."""
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
    """The readings of this process. Raises `ConfigError`, and may be asked again then."""
    settings = load()
    return SharedReadings(BrokerLook(settings), rules_of(settings), SystemClock())
