"""Starts the whole fleet on this machine, part by part, and keeps it running."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

from fleet.app.broker import apply_topology, login_of
from fleet.app.local import parts
from fleet.app.local.ports import Ports
from fleet.app.status import TargetStatus, has_cloud_key, target_statuses
from fleet.app.worker import rules_of
from fleet.model.errors import FleetError
from fleet.settings.environment import Settings
from fleet.supervision.folder import held
from fleet.supervision.supervisor import Supervisor
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue

NO_KEYS = "no cloud keys: escalation stays inside the fleet (set OPENAI_API_KEY, ANTHROPIC_API_KEY or GROQ_API_KEY)"
NO_LEDGER = "no ledger database: pip install 'inference-fleet[ledger]'"

LEDGER_PARTS = ("sqlalchemy", "alembic", "pyarrow", "cryptography")
"""Libraries that the writer of the ledger needs."""

MIN_FREE_BYTES = 64_000_000
"""Room without which nothing starts: the broker's streams share three quarters of what is free at its first start."""


class Fleet:
    """A running fleet, started by `start`. `notes` tells its owner what is missing.

    In `metrics_folder` its processes say where their metrics are, for Prometheus.
    """

    def __init__(
        self,
        settings: Settings,
        nats_url: str,
        models: parts.Models,
        has_ledger: bool,
        supervisor: Supervisor,
        stack: AsyncExitStack,
    ) -> None:
        self.nats_url = nats_url
        self.openai_url = models.serve_url
        self.dashboard_url = models.dashboard_url
        self.targets = tuple(models.targets)
        self.metrics_folder = parts.metrics_folder(settings)
        self.has_ledger = has_ledger
        missing = {NO_KEYS: not has_cloud_key(rules_of(settings)), NO_LEDGER: _lacks_ledger_parts()}
        self.notes = tuple(note for note, is_missing in missing.items() if is_missing)
        self._settings = settings
        self._models = models
        self._supervisor = supervisor
        self._stack = stack

    async def status(self) -> list[TargetStatus]:
        """Return the targets as they were when the models were started."""
        connection = await connect(self.nats_url, login=login_of(self._settings))
        try:
            depths = (await JetStreamQueue(connection).depths()).by_target()
        finally:
            await connection.close()
        return list(target_statuses(self._settings, depths, self._models.replicas))

    async def broken(self) -> FleetError:
        """Wait until a part that the fleet cannot do without is given up, and return what to tell its owner."""
        return await self._supervisor.broken()

    async def stop(self) -> None:
        """Drain the dispatcher, then stop Ray, the runner of batches, the ledger's writer and the broker."""
        await self._stack.aclose()


async def start(settings: Settings, on_progress: Callable[[str], None]) -> Fleet:
    """Start everything and return once jobs are answered; if a part fails, stop what was started.

    From then on a part that ends is started again, and `on_progress` told.

    Raises: ConfigError; QueueUnavailable; BackendUnavailable; FleetError if a part is not installed, or a fleet runs in
    the data folder.
    """
    _require_engines()
    rules_of(settings)  # a mistake in a file must show now, not in a replica two minutes later
    async with AsyncExitStack() as stack:
        lock = await asyncio.to_thread(stack.enter_context, held(settings.data_dir, on_progress))
        _require_room(settings.data_dir)
        ports = Ports.of(settings)
        supervisor = Supervisor(on_progress, str(settings.data_dir / "fleet.log"))
        stack.push_async_callback(supervisor.stop)
        nats_url = settings.nats_url
        if nats_url is None:
            on_progress("starting NATS")
            broker = parts.Broker(settings.data_dir / "nats", ports.nats, lock)
            await supervisor.add(broker)
            nats_url = broker.url
        await apply_topology(nats_url, login_of(settings))
        has_ledger = settings.nats_url is None and not _lacks_ledger_parts()
        if has_ledger:
            await supervisor.add(parts.ledger_writer(settings, nats_url, lock))
        if settings.nats_url is None:
            await supervisor.add(parts.batch_runner(settings, nats_url, lock))
            await supervisor.add(parts.webhooks(settings, nats_url, lock))
        models = parts.models(settings, nats_url, ports, lock, on_progress)
        await supervisor.add(models)
        return Fleet(settings, nats_url, models, has_ledger, supervisor, stack.pop_all())
    raise AssertionError("unreachable: the stack does not swallow exceptions")


def _require_engines() -> None:
    if find_spec("ray") is None or find_spec("vllm") is None:
        raise FleetError("models need Ray and vLLM on this machine: pip install 'inference-fleet[cpu]'")


def _require_room(folder: Path) -> None:
    """Raises: FleetError if the disk is as good as full; the broker would tell of a limit of its own instead."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        rule = f"{free / 1e6:.0f} MB are free, and a fleet needs {MIN_FREE_BYTES / 1e6:.0f} MB to start"
        raise FleetError(f"the disk of {folder.absolute()} is full: {rule}; make room, or set FLEET_DATA_DIR")


def _lacks_ledger_parts() -> bool:
    return any(find_spec(name) is None for name in LEDGER_PARTS)
