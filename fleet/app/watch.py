"""A look at a running fleet, once or again and again over one connection: by the broker, and by Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deployments.serve.api import Instance, Scaling
from fleet.app.broker import login_of
from fleet.app.status import (
    FleetStatus,
    ReplicaCounts,
    SpendStatus,
    dispatcher_statuses,
    read_serve,
    read_spend,
    replicas_in,
    replicas_reported,
    target_statuses,
)
from fleet.app.worker import SystemClock, prior_calibrations, rules_of
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.delivery import Depths
from fleet.model.errors import QueueUnavailable
from fleet.model.result import Kept
from fleet.model.scaling import Load, ObservedStart
from fleet.settings.environment import LOCAL_NATS_URL, Settings
from policies.confidence.lookup import is_of
from queues.jetstream.client.addresses import without_password
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.cold_starts import CellColdStarts
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.dead import JetStreamDeadLetters
from queues.jetstream.stores.ledger import JetStreamLedger
from queues.jetstream.stores.load import JetStreamLoads
from queues.jetstream.streams.topology import stream_sizes
from queues.wire.subjects import LEDGER, LOAD, SPEND

SPEND_SECONDS = 10.0
"""Seconds between two readings of the money, which ask for the account of every tenant that spent something today, and
of the starts seen.
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The fleet at `at` (unix seconds).

    Where the broker is away (`status.reachable`), what it knows is empty. `scalings` holds Serve's word on each
    self-hosted target that is deployed, None where the Ray dashboard does not answer.
    """

    at: float
    status: FleetStatus
    depths: Depths = field(default_factory=Depths)
    loads: Sequence[Load] = ()
    scalings: Mapping[str, Scaling] | None = None
    ledger_sequence: int | None = None
    """The number of the last line of accounts that the broker has stored."""
    trouble: QueueUnavailable | None = None
    """Why the broker could not be asked."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The calibrations that dispatchers judge by, and those stored for a model that is no longer the target's."""

    calibrations: Mapping[CalibrationKey, Calibration]
    unused: Mapping[CalibrationKey, Calibration]


class Watch:
    """Looks at a fleet. It connects at the first look, and again if the connection closes for good."""

    def __init__(self, settings: Settings) -> None:
        """Set up. Raises: ConfigError if rules or catalogue cannot be used."""
        self.rules = rules_of(settings)
        self._settings = settings
        self._clock = SystemClock()
        self._url = settings.nats_url or LOCAL_NATS_URL
        self._opening = asyncio.Lock()
        self._connection: Connection | None = None
        self._spend: tuple[SpendStatus, ...] = ()
        self._spend_due_at = 0.0
        self._starts: Mapping[str, Sequence[ObservedStart]] = {}

    async def look(self) -> Seen:
        """Return the fleet as it is now. Raises: ConfigError if the login cannot be used."""
        asked = asyncio.create_task(asyncio.to_thread(read_serve, self._settings.dashboard_address))
        try:
            seen = await self._look_at_broker()
        except QueueUnavailable as error:
            away = FleetStatus(without_password(self._url), False, {}, ())
            seen = Seen(self._clock.now(), away, trouble=error)
        told = await asked
        replicas, where = _replicas(self._settings.dashboard_address, told, seen.loads, seen.at)
        status = replace(
            seen.status,
            at=seen.at,
            targets=target_statuses(
                self._settings, seen.depths.by_target(), replicas, seen.loads, seen.at, self._starts
            ),
            dispatchers=dispatcher_statuses(seen.loads, seen.at),
            replicas_seen=where,
        )
        return replace(seen, status=status, scalings=None if isinstance(told, str) else self._scalings(told))

    async def _look_at_broker(self) -> Seen:
        connection = await self._connected()
        streams = await stream_sizes(connection.nats.jetstream())
        depths = await JetStreamQueue(connection).depths()
        # A fleet of an older version keeps no record of spending and of load.
        loads = await JetStreamLoads(connection).read() if LOAD in streams else ()
        ledger = await JetStreamLedger(connection).stream() if LEDGER in streams else None
        await self._read_spend(connection, SPEND in streams)
        waiting = None if ledger is None else ledger.waiting
        status = FleetStatus(without_password(self._url), True, streams, (), self._spend, ledger_waiting=waiting)
        # By the broker's clock, as dispatchers date their reports: that of whoever looks may be wrong.
        at = self._clock.now() if depths.at is None else depths.at
        return Seen(at, status, depths, loads, ledger_sequence=None if ledger is None else ledger.last_sequence)

    async def in_force(self) -> InForce:
        """Return the calibrations. Raises: QueueUnavailable; ConfigError if the operator's file cannot be used."""
        stored = await JetStreamCalibrations(await self._connected()).read_all()
        targets = self.rules.catalogue.targets
        prior = prior_calibrations(self._settings, self.rules)
        used = {key for key, each in stored.items() if key.target in targets and is_of(each, targets[key.target])}
        return InForce(
            {**prior, **{key: each for key, each in stored.items() if key in used}},
            {key: each for key, each in stored.items() if key not in used},
        )

    async def dead_letters(self, limit: int, before: int | None = None) -> Sequence[Kept]:
        """Return the newest dead letters as `fleet.ports.DeadLetters.latest` does. Raises: QueueUnavailable."""
        return await JetStreamDeadLetters(await self._connected()).latest(limit, before)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._connection is None:
                login = login_of(self._settings)
                self._connection = await connect(self._url, name="fleet-watch", login=login, on_closed=self._gone)
            return self._connection

    def _gone(self) -> None:
        self._connection = None

    async def _read_spend(self, connection: Connection, is_kept: bool) -> None:
        now = self._clock.now()
        if is_kept and not self._spend_due_at - SPEND_SECONDS <= now < self._spend_due_at:  # a clock may step back
            cells = JetStreamCells(connection)
            self._spend = await read_spend(cells, self.rules.money)
            self._starts = await CellColdStarts(cells).read()
            self._spend_due_at = now + SPEND_SECONDS

    def _scalings(self, instance: Instance) -> Mapping[str, Scaling]:
        own = (target.name for target in self.rules.catalogue.targets.values() if not target.is_cloud)
        found = {name: instance.scaling(name) for name in own}
        return {name: scaling for name, scaling in found.items() if scaling is not None}


def _replicas(
    dashboard: str, told: Instance | str, loads: Sequence[Load], now: float
) -> tuple[Mapping[str, ReplicaCounts] | None, str]:
    """Return the replicas, and who saw them when; where the dashboard does not tell, dispatchers may have."""
    if not isinstance(told, str):
        return replicas_in(told), f"as Serve has them now, by the dashboard {without_password(dashboard)}"
    reported = replicas_reported(loads, now)
    if reported is None:
        return None, f"not known: {told}"
    return reported[0], f"{reported[1]}: {told}"


async def read_status(settings: Settings) -> FleetStatus:
    """Return the fleet's status.

    Raises: QueueUnavailable if the broker does not answer, or says no; ConfigError if the login cannot be used.
    """
    watch = Watch(settings)
    try:
        seen = await watch.look()
    finally:
        await watch.close()
    if seen.trouble is not None:
        raise seen.trouble
    return seen.status
