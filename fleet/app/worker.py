"""A dispatcher with its real adapters: as a Serve replica beside the models, or as a plain process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace

from fleet import logs, providers
from fleet.app.broker import login_of
from fleet.app.calibrations import Calibrations, load_calibrations, shipped_calibrations
from fleet.app.experiments import trials_of
from fleet.app.metrics import metrics_of
from fleet.app.similar import semantic_cache
from fleet.dispatch.dispatcher import Dispatcher
from fleet.dispatch.garbage import spare_what_stays
from fleet.dispatch.runner.cost_reservations import alerts
from fleet.dispatch.state.knowledge import Learned
from fleet.dispatch.state.starts import LearnedCapacities
from fleet.model.adapter import ReadFiles
from fleet.model.errors import ConfigError, LoginRefused
from fleet.model.target import Target
from fleet.ports import AdapterStore, Backend, BatchedCalls, Capacities, Clock
from fleet.providers.batches.claims import BatchClaims
from fleet.providers.keys import EnvironmentKeyRing
from fleet.settings.documents import load_rules
from fleet.settings.environment import LOCAL_NATS_URL, Settings, load
from fleet.settings.routers import Routers, load_routers
from fleet.signals import when_told_to_end
from fleet.telemetry import tracing
from fleet.telemetry.metrics.counts import JobCounts
from fleet.telemetry.metrics.families import Family
from fleet.telemetry.metrics.gauges import gauges
from policies.rules.catalogue import with_adapters
from policies.rules.providers import key_variable_of
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.cold_starts import CellColdStarts
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.adapters import JetStreamAdapters
from queues.jetstream.stores.cache import JetStreamCache
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.load import JetStreamLoads
from queues.jetstream.stores.spend import CellSpendBook
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.wire.subjects import PROVIDER_BATCHES, provider_batches_subject


class SystemClock:
    def now(self) -> float:
        return time.time()


def rules_of(settings: Settings) -> Rules:
    """Return the rules and the catalogue that these settings ask for.

    Raises: ConfigError if a file cannot be used, or a model with adapters is none of the fleet's own.
    """
    rules = load_rules(settings.rules_path, settings.catalogue_path, settings.profile)
    if not settings.models_with_adapters:
        return rules
    return replace(rules, catalogue=with_adapters(rules.catalogue, settings.models_with_adapters))


def prior_calibrations(settings: Settings, rules: Rules) -> Calibrations:
    """Return the calibrations a dispatcher starts with: those of the operator's file, or the shipped ones.

    Raises: ConfigError if the file cannot be used.
    """
    if settings.calibrations_path is not None:
        return load_calibrations(settings.calibrations_path, rules.catalogue)
    return shipped_calibrations(settings.profile)


def learned_routers(settings: Settings, rules: Rules) -> Routers:
    """Return the routers in the operator's file, if there is one.

    Raises: ConfigError if the file cannot be used.
    """
    return {} if settings.routers_path is None else load_routers(settings.routers_path, rules.catalogue)


def provider_keys(rules: Rules) -> EnvironmentKeyRing:
    """Return the keys in this process's environment for the providers of the catalogue."""
    return EnvironmentKeyRing(os.environ, rules.catalogue.providers)


def cloud_targets(rules: Rules) -> list[Target]:
    return [target for target in rules.catalogue.targets.values() if target.is_cloud]


def way_out(settings: Settings, rules: Rules) -> providers.ProviderSettings:
    """Return the way to the providers of the catalogue."""
    proxy_url = settings.provider_proxy_url.get_secret_value() if settings.provider_proxy_url else None
    known = rules.catalogue.providers
    urls = {name: url for name in known if (url := settings.base_url(name)) is not None}
    return providers.ProviderSettings(urls, proxy_url=proxy_url, ca_path=settings.provider_ca_path, providers=known)


def cloud_backends(settings: Settings, rules: Rules) -> dict[str, Backend]:
    """Return a backend for every cloud target whose provider the fleet, or any tenant, can call.

    Raises: BackendUnavailable if one needs a part that is not installed.
    """
    way, keys = way_out(settings, rules), provider_keys(rules)
    counts = {name: providers.OwnCount(provider) for name, provider in way.providers.items()}
    return {
        target.name: providers.build(target, way, keys, counts[target.provider])
        for target in cloud_targets(rules)
        if not target.is_batched and (keys.has_fleets_key(target.provider) or keys.has_tenants_keys(target.provider))
    }


def batched_calls(settings: Settings, rules: Rules, cells: JetStreamCells, clock: Clock) -> dict[str, BatchedCalls]:
    """Return the batches of every target that runs in its provider's, if the rules allow them and the fleet has a key.

    Raises: BackendUnavailable if one needs a part that is not installed.
    """
    way, keys = way_out(settings, rules), provider_keys(rules)
    return {
        target.name: providers.build_batches(target, way, keys, BatchClaims(cells, target.name), clock.now)
        for target in cloud_targets(rules)
        if target.is_batched and rules.discounts.batch and keys.has_fleets_key(target.provider)
    }


def own_key_only(rules: Rules) -> list[str]:
    """Return the cloud targets that the fleet itself has no key for."""
    keys = provider_keys(rules)
    return [target.name for target in cloud_targets(rules) if not keys.has_fleets_key(target.provider)]


def key_variables(rules: Rules) -> list[str]:
    """Return the variables of the fleet's keys for the cloud targets of the catalogue."""
    used = dict.fromkeys(target.provider for target in cloud_targets(rules))
    return [key_variable_of(name, rules.catalogue.providers[name]) for name in used]


def fleet_backends(rules: Rules, read_files: ReadFiles) -> dict[str, Backend]:
    """Return a backend for every self-hosted target of the catalogue that is deployed on our Ray cluster.

    A target without a replica is included: its jobs are what a replica is started for. `read_files` has the adapters'.
    """
    from deployments import cluster
    from deployments.serve.backend import ray_serve_backend
    from deployments.serve.files import AdapterFiles

    deployed = cluster.status()
    own = [target.name for target in rules.catalogue.targets.values() if not target.is_cloud]
    files = AdapterFiles(read_files)
    return {name: ray_serve_backend(name, files) for name in own if name in deployed}


def fleet_capacities() -> Capacities:
    """Return the source that knows how many replicas each self-hosted target has on our Ray cluster."""
    from deployments.serve.capacity import ServeCapacities

    return ServeCapacities()


class DispatcherProcess:
    """A dispatcher that connects itself, run by a Serve replica or a plain process. `drain` may come at any time."""

    def __init__(self, settings: Settings, with_ray: bool) -> None:
        """Read everything that can be wrong, so that a mistake shows at once.

        Raises: ConfigError if a setting or file cannot be used.
        """
        self._settings = settings
        self._with_ray = with_ray
        self._rules = rules_of(settings)
        self._prior = prior_calibrations(settings, self._rules)
        self._routers = learned_routers(settings, self._rules)
        keeping = (settings.trace_expensive_usd, settings.notable_traces_per_second)
        self._tracer = tracing.tracer_from_environment(os.environ, *keeping)
        self._adapters: AdapterStore | None = None
        self._dispatcher: Dispatcher | None = None
        self._draining = False

    async def run(self) -> None:
        """Serve until drained.

        Raises: QueueUnavailable if there is no broker; ConfigError if there is no target or the login is refused.
        """
        closed = asyncio.Event()
        url = self._settings.nats_url or LOCAL_NATS_URL
        login = login_of(self._settings)
        connection = await connect(url, name="fleet-dispatcher", login=login, on_closed=closed.set)
        try:
            self._adapters = JetStreamAdapters(connection)
            backends = self._backends()
            await apply(connection.nats.jetstream(), TopologySpec())
            await unless_closed(closed, self._serve(connection, backends))
        finally:
            if self._tracer is not None:
                self._tracer.close()
            await connection.close()

    def _backends(self) -> dict[str, Backend]:
        backends = cloud_backends(self._settings, self._rules)
        if self._with_ray:
            backends |= fleet_backends(self._rules, self._read_files)
        if not backends:
            keys = ", ".join(key_variables(self._rules))
            raise ConfigError(keys, "one of them must be set where the fleet has no model of its own, as without Ray")
        return backends

    async def _read_files(self, digest: str) -> Mapping[str, bytes] | None:
        return None if self._adapters is None else await self._adapters.files(digest)

    async def _serve(self, connection: Connection, backends: Mapping[str, Backend]) -> None:
        lease_seconds = self._settings.lease_seconds
        queue = JetStreamQueue(connection, lease_seconds)
        only = own_key_only(self._rules)
        money, clock = self._rules.money, SystemClock()
        cells = JetStreamCells(connection)
        claimed = JetStreamCells(connection, PROVIDER_BATCHES, provider_batches_subject)
        batches = batched_calls(self._settings, self._rules, claimed, clock)
        counts = JobCounts(self._rules.catalogue.targets, [*backends, *batches])
        spend = CellSpendBook(cells, clock, money.open_seconds, alerts(money))
        self._dispatcher = Dispatcher(
            queue,
            backends,
            self._rules,
            clock,
            self._tracer,
            lease_seconds,
            only,
            spend=spend,
            learned=Learned(JetStreamCalibrations(connection), self._prior, self._routers),
            cancels=JetStreamCancels(connection),
            loads=JetStreamLoads(connection),
            capacities=self._capacities(CellColdStarts(cells), clock) if self._with_ray else None,
            recorder=counts,
            cache=JetStreamCache(connection),
            similar=semantic_cache(self._settings, self._rules, connection, backends),
            trials=trials_of(self._settings, self._rules, connection),
            adapters=self._adapters,
            batches=batches,
        )
        if self._draining:
            return
        spare_what_stays()
        await self._run(self._dispatcher, counts)

    def _capacities(self, book: CellColdStarts, clock: Clock) -> Capacities:
        return LearnedCapacities(fleet_capacities(), book, self._rules.catalogue, clock)

    async def _run(self, dispatcher: Dispatcher, counts: JobCounts) -> None:
        """Run the dispatcher, and let others have its metrics until it has drained."""
        catalogue, limit_usd = self._rules.catalogue, self._rules.money.daily_usd

        def read() -> Iterator[Family]:
            yield from counts.read()
            yield from gauges(dispatcher.snapshot(), catalogue.targets, limit_usd)

        try:
            async with metrics_of("dispatcher", read, lambda: dispatcher.is_serving, self._settings):
                await dispatcher.run()
        finally:
            await dispatcher.close()

    async def drain(self) -> None:
        self._draining = True
        if self._dispatcher is not None:
            await self._dispatcher.drain()


async def unless_closed(closed: asyncio.Event, serving: Coroutine[None, None, None]) -> None:
    """Serve until done, or raise once nats-py has given the connection up for good, so that a supervisor restarts us.

    Raises: LoginRefused if the connection ended for good.
    """
    task, gone = asyncio.create_task(serving), asyncio.create_task(closed.wait())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise LoginRefused("NATS ended the connection for good, as where a login is changed or expires")
        await task
    finally:
        task.cancel()
        gone.cancel()


def dispatcher_from_environment() -> DispatcherProcess:
    """Return the dispatcher of a Serve replica, whose lines are in the replica's own log as well.

    Raises: ConfigError if a setting or file cannot be used.
    """
    from deployments.serve.log import ServeLog

    settings = load()
    logs.configure(settings.log_level.upper(), json=True, beside=ServeLog())
    return DispatcherProcess(settings, with_ray=True)


async def run_dispatcher(settings: Settings) -> None:
    """Run a dispatcher for cloud targets in this process until SIGTERM or SIGINT, then drain it."""
    logs.configure(settings.log_level.upper())
    process = DispatcherProcess(settings, with_ray=False)
    draining: set[asyncio.Task[None]] = set()
    when_told_to_end(lambda: draining.add(asyncio.create_task(process.drain())))
    await process.run()
