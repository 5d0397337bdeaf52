"""Stands in for `fleet.app`: a fleet in memory that says it is running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from memory_fleet import MemoryFleet

from fleet.app import FleetStatus, SpendStatus, TargetStatus
from fleet.app.status import DispatcherState, DispatcherStatus
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.errors import FleetError
from fleet.model.scaling import ColdStart
from fleet.settings.environment import Settings
from queues.batches import MemoryShelf, TenantBatches, TenantFiles
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.client.unreachable import unreachable
from queues.jetstream.stores.adapters import MemoryAdapters
from queues.jetstream.stores.cache import MemoryCache
from queues.jetstream.stores.calibrations import MemoryCalibrations
from queues.jetstream.stores.dead import MemoryDeadLetters
from queues.jetstream.stores.experiments import MemoryExperiments
from queues.jetstream.stores.journal import MemoryJournal
from queues.jetstream.stores.keys import MemoryKeys
from queues.jetstream.stores.ledger import MemoryLedger
from queues.jetstream.stores.promises import MemoryCachePromises
from queues.jetstream.stores.turns import MemoryTurns
from queues.jetstream.streams.topology import Change, ChangeKind
from queues.memory import MemoryBroker, MemoryDesk


class ServedDesk(MemoryDesk):
    """A desk whose jobs are answered as long as it is open."""

    def __init__(self, broker: MemoryBroker, tenant: str, serving: asyncio.Task[None]) -> None:
        super().__init__(broker, tenant)
        self._serving = serving

    async def close(self) -> None:
        self._serving.cancel()


TARGETS = (
    TargetStatus("llama-8b", "fleet", "running", 2, 1234, cold_start=ColdStart(93.0, 4)),
    TargetStatus("gpt-4o", "openai", "no key", None, 0, "set OPENAI_API_KEY"),
)

DISPATCHERS = (DispatcherStatus("a1b2c3d4", DispatcherState.SERVING, 1.0, "gpu-1", 4711, True, 12, 5, 0.41, {}),)


CONSOLE_URL = "http://127.0.0.1:8270"
GATEWAY_URL = "http://127.0.0.1:8280"


@dataclass
class App:
    """Stands in for the module `fleet.app`; `calls` records what the commands asked of it."""

    fleet: MemoryFleet = field(default_factory=MemoryFleet)
    is_up: bool = True
    calls: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ("no cloud keys",)
    has_ledger: bool = False
    nats_url: str = "nats://127.0.0.1:4222"
    dashboard_url: str | None = "http://127.0.0.1:8265"
    openai_url: str | None = None
    metrics_folder: Path = Path("/fleet/metrics")
    targets: tuple[str, ...] = ("llama-8b", "gpt-4o")
    calibrations: MemoryCalibrations = field(default_factory=MemoryCalibrations)
    keys: MemoryKeys = field(default_factory=MemoryKeys)
    cache: MemoryCache = field(default_factory=MemoryCache)
    turns: MemoryTurns = field(default_factory=MemoryTurns)
    cache_promises: MemoryCachePromises = field(default_factory=MemoryCachePromises)
    shipped: Mapping[CalibrationKey, Calibration] = field(default_factory=dict)
    after_start: Callable[[], None] = lambda: None
    console_error: Exception | None = None
    gateway_error: Exception | None = None
    failure: FleetError | None = None
    shelf: MemoryShelf = field(init=False)
    experiments: MemoryExperiments = field(init=False)
    adapters: MemoryAdapters = field(default_factory=MemoryAdapters)

    def __post_init__(self) -> None:
        self.shelf = MemoryShelf(self.fleet.broker)
        self.experiments = MemoryExperiments(self.fleet.broker)

    @asynccontextmanager
    async def open_batches(
        self, nats_url: str, tenant: str, login: Login
    ) -> AsyncIterator[tuple[TenantFiles, TenantBatches]]:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        yield TenantFiles(self.shelf, tenant), TenantBatches(self.shelf, tenant, poll_seconds=0.02)

    async def open_desk(self, nats_url: str, tenant: str, login: Login = ANONYMOUS) -> ServedDesk:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        self.fleet.broker.wake()  # its event belongs to the loop of the command before
        serving = asyncio.get_running_loop().create_task(self.fleet.serve())
        return ServedDesk(self.fleet.broker, tenant, serving)

    async def open_journal(self, nats_url: str, login: Login) -> MemoryJournal:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        return MemoryJournal(self.fleet.broker)

    async def open_ledger_feed(self, nats_url: str, login: Login) -> MemoryLedger:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        self.fleet.broker.wake()  # its event belongs to the loop of the command before
        return MemoryLedger(self.fleet.broker)

    async def open_dead_letters(self, nats_url: str, login: Login = ANONYMOUS) -> MemoryDeadLetters:
        return MemoryDeadLetters(self.fleet.broker)

    async def open_calibrations(self, nats_url: str, login: Login) -> MemoryCalibrations:
        return self.calibrations

    async def open_turns(self, nats_url: str, login: Login) -> MemoryTurns:
        return self.turns

    async def open_experiments(self, nats_url: str, login: Login) -> MemoryExperiments:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        self.fleet.broker.wake()  # its event belongs to the loop of the command before
        return self.experiments

    async def open_adapters(self, nats_url: str, login: Login) -> MemoryAdapters:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        return self.adapters

    async def open_keys(self, nats_url: str, login: Login) -> MemoryKeys:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        return self.keys

    async def open_cache_promises(self, nats_url: str, login: Login) -> MemoryCachePromises:
        return self.cache_promises

    async def open_cache(self, nats_url: str, login: Login) -> MemoryCache:
        if not self.is_up:
            raise unreachable(nats_url, ConnectionRefusedError(), 5.0)
        return self.cache

    def shipped_calibrations(self, profile: str) -> Mapping[CalibrationKey, Calibration]:
        return self.shipped

    async def start(self, settings: Settings, on_progress: Callable[[str], None]) -> App:
        self.calls.append("start")
        on_progress("starting NATS")
        self.is_up = True
        asyncio.get_running_loop().call_soon(self.after_start)
        return self

    async def stop(self) -> None:
        self.calls.append("stop")

    async def broken(self) -> FleetError:
        if self.failure is None:
            await asyncio.Event().wait()
        assert self.failure is not None, "nothing sets the event"
        return self.failure

    async def status(self) -> Sequence[TargetStatus]:
        return TARGETS

    @asynccontextmanager
    async def serving_gateway(self, settings: Settings) -> AsyncIterator[str]:
        if self.gateway_error is not None:
            raise self.gateway_error
        assert settings.nats_url == self.nats_url
        yield GATEWAY_URL

    @asynccontextmanager
    async def serving_console(self, settings: Settings) -> AsyncIterator[SimpleNamespace]:
        if self.console_error is not None:
            raise self.console_error
        assert settings.nats_url == self.nats_url and settings.ray_dashboard_url == self.dashboard_url
        yield SimpleNamespace(url=CONSOLE_URL, entry=f"{CONSOLE_URL}/login#a-token")

    async def read_status(self, settings: Settings) -> FleetStatus:
        if not self.is_up:
            raise unreachable(settings.nats_url or "", ConnectionRefusedError(), 5.0)
        spend = (SpendStatus(None, 12.5, 0.25, 50.0), SpendStatus("acme", 1.0, 0.0, 5.0))
        streams = {"JOBS": 1200, "RESULTS": 3}
        where = "as Serve has them now, by the dashboard http://127.0.0.1:8265"
        url = settings.nats_url or ""
        return FleetStatus(url, self.is_up, streams, TARGETS, spend, 43_203.0, DISPATCHERS, where, ledger_waiting=1200)

    async def apply_topology(self, nats_url: str, login: Login, replicas: int | None) -> list[Change]:
        self.calls.append(f"topology of {replicas or 'as many as there are'} replicas")
        return [Change("JOBS", ChangeKind.CREATED), Change("WORK", ChangeKind.UNCHANGED)]

    async def run_dispatcher(self, settings: Settings) -> None:
        self.calls.append(f"dispatcher at {settings.nats_url}")
