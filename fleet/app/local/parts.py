"""The parts of a fleet on this machine, each a process of its own that the supervisor can start again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet.app.local.ports import Ports
from fleet.app.status import ReplicaCounts
from fleet.app.webhooks import local_key
from fleet.model.errors import BackendUnavailable, FleetError, QueueUnavailable
from fleet.settings.environment import Settings
from fleet.supervision.command import Command
from fleet.supervision.supervisor import how_ended
from fleet.webhooks.signing import KEY_VARIABLE
from queues.server.embedded import EmbeddedServer

if TYPE_CHECKING:
    from deployments.local import Order

DISPATCHER_FACTORY = "fleet.app:dispatcher_from_environment"
READINGS_FACTORY = "fleet.app.scaling:readings_from_environment"

STOP_SECONDS: Final = 30.0
"""Seconds that the writer of the ledger has to write the last lines, and the runner of batches to hand them over."""

DRAIN_SECONDS: Final = 150.0
"""Seconds that the dispatcher and the models have to finish the calls that run: Serve gives each replica 130."""

BROKER_START_SECONDS: Final = 600.0
"""Seconds that the broker has to read a full store again, as after a kill. One that ends is noticed at once."""

LOOK_SECONDS: Final = 0.1
"""Seconds between two looks at whether the broker runs."""

RAY_FOLDER_FILE: Final = "ray-folder"
"""The name of the file that says where Ray writes, so that the next fleet removes what a killed one has left."""

MAX_FOLDER_BYTES: Final = 40
"""Ray's Unix sockets lie some 60 bytes below its folder, and the path of one has at most 107."""


class Broker:
    """The embedded nats-server."""

    name = "nats-server"
    without = None

    def __init__(self, folder: Path, port: int, lock: int) -> None:
        self._server = EmbeddedServer(folder, port, start_seconds=BROKER_START_SECONDS, inherited=(lock,))
        self._starting: asyncio.Future[None] | None = None
        self.url = self._server.url

    @property
    def pid(self) -> int | None:
        return self._server.pid

    async def start(self) -> None:
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._server.start))
        try:
            await asyncio.shield(self._starting)
        except QueueUnavailable as error:  # its advice is to start a fleet, which we are doing
            raise FleetError(str(error)) from error

    async def ended(self) -> str:
        while (code := self._server.exit_code) is None:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(LOOK_SECONDS)
        return how_ended(code)

    async def stop(self) -> None:
        await asyncio.to_thread(self._server.stop)
        if self._starting is not None:
            await asyncio.wait([self._starting])  # its thread may have been about to start the server
            await asyncio.to_thread(self._server.stop)


class Models(Command):
    """Ray with the models and the dispatcher."""

    MODULE = "deployments.local"

    def __init__(
        self,
        order: Order,
        data_dir: Path,
        environment: Mapping[str, str],
        lock: int,
        on_progress: Callable[[str], None],
    ) -> None:
        super().__init__("Ray", None, (self.MODULE,), environment, lock, DRAIN_SECONDS, stdin=PIPE, stdout=PIPE)
        self._order = order
        self.targets = order.targets
        self._note = data_dir / RAY_FOLDER_FILE
        self._on_progress = on_progress
        self._runs = False
        self.serve_url = ""
        self.dashboard_url: str | None = None
        self.replicas: Mapping[str, ReplicaCounts] = {}
        """The replicas when all models answered for the first time."""

    async def start(self) -> None:
        """Start Ray, the models and the dispatcher. Raises: BackendUnavailable with what Ray or Serve says."""
        self._runs = False
        self._remove_folder()
        folder = tempfile.mkdtemp(prefix="fleet-", dir=_short_folder())
        self._note.write_text(folder)
        self._on_progress("starting Ray")
        await super().start()
        try:
            await self._send(replace(self._order, folder=folder))
            self.serve_url, self.dashboard_url = (await self._answer())["urls"]
            self._on_progress("starting the models (one to three minutes on a small machine)")
            while "starting" in (answer := await self._answer()):
                self._on_progress(_how_far(**answer["starting"]))
            self.replicas = {name: _counts(found) for name, found in answer["applications"].items()}
        except BackendUnavailable:
            await self.stop()
            raise
        self._runs = True

    async def ended(self) -> str:
        assert self.process is not None and self.process.stdout is not None, "it was started"
        while line := await self.process.stdout.readline():
            match json.loads(line):
                case {"ill": name}:
                    self._on_progress(f"{name} is unhealthy: Serve starts it again (`fleet status` has more)")
                case {"well": name}:
                    self._on_progress(f"{name} is healthy again")
                case last:
                    await super().ended()
                    return f"has ended ({last['error']})"
        return await super().ended()

    async def stop(self) -> None:
        # While it starts nothing is to be drained, and Ray may hang.
        await self.end_within(DRAIN_SECONDS if self._runs else 0.0)
        self._remove_folder()

    async def _send(self, order: Order) -> None:
        assert self.process is not None and self.process.stdin is not None, "it was started"
        with suppress(ConnectionError):  # it has ended: its answer says so
            self.process.stdin.write(order.encode())
            await self.process.stdin.drain()

    async def _answer(self) -> dict[str, Any]:
        assert self.process is not None and self.process.stdout is not None, "it was started"
        line = await self.process.stdout.readline()
        if not line:
            raise BackendUnavailable(f"Ray {how_ended(await self.process.wait())} while it started")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendUnavailable(answer["error"])
        return answer

    def _remove_folder(self) -> None:
        with suppress(FileNotFoundError):
            folder = Path(self._note.read_text())
            if folder.name.startswith("fleet-"):
                shutil.rmtree(folder, ignore_errors=True)
            self._note.unlink()


def _short_folder() -> str:
    """Return a folder for temporary files whose path leaves room for Ray's sockets."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= MAX_FOLDER_BYTES else "/tmp"  # noqa: S108  # mkdtemp is safe there


def _how_far(running: Sequence[str], missing: Sequence[str], seconds: int) -> str:
    names = {"ready": running, "still starting": missing}
    return f"{seconds} s: " + "; ".join(f"{what}: {', '.join(each)}" for what, each in names.items() if each)


def _counts(found: Mapping[str, Any]) -> ReplicaCounts:
    return ReplicaCounts(found["status"], found["running"], found["message"] or None)


def ledger_writer(settings: Settings, nats_url: str, lock: int) -> Command:
    """Return the writer of the ledger. The broker must be ours: that of another fleet has a writer elsewhere."""
    told = {"FLEET_LEDGER_URL": settings.ledger_address}
    without = "no accounts are written: the broker keeps their lines for 30 days"
    return _command("the ledger's writer", without, "ledger", environment(settings, nats_url) | told, lock)


def batch_runner(settings: Settings, nats_url: str, lock: int) -> Command:
    """Return the runner of batches. The broker must be ours, as for the ledger's writer."""
    return _command("the batch runner", "no batch goes on", "batches", environment(settings, nats_url), lock)


def webhooks(settings: Settings, nats_url: str, lock: int) -> Command:
    """Return the process that delivers events. Their key is in the environment, where the gateway finds it too."""
    os.environ.setdefault(KEY_VARIABLE, local_key(settings.data_dir))
    return _command("the webhooks process", "no webhook is sent", "webhooks", environment(settings, nats_url), lock)


def _command(name: str, without: str, group: str, told: Mapping[str, str], lock: int) -> Command:
    return Command(name, without, ("fleet.cli", group, "run"), {**os.environ, **told}, lock, STOP_SECONDS)


def models(settings: Settings, nats_url: str, ports: Ports, lock: int, on_progress: Callable[[str], None]) -> Models:
    """Return Ray, the models and the dispatcher.

    All of Ray inherits the environment: the dispatcher's replica reads its settings from it, and so do the scaling
    policies in Serve's controller.
    """
    from deployments.local import Order

    order = Order(
        profile=settings.profile,
        dashboard=settings.dashboard,
        dashboard_port=ports.dashboard,
        http_port=ports.http,
        folder="",
        factory=DISPATCHER_FACTORY,
        readings=READINGS_FACTORY,
        least=settings.least_replicas,
        adapters=settings.models_with_adapters,
    )
    told = {**os.environ, **environment(settings, nats_url)}
    return Models(order, settings.data_dir, told, lock, on_progress)


def environment(settings: Settings, nats_url: str) -> dict[str, str]:
    """Return what every part is told of the settings."""
    chosen = {
        "FLEET_NATS_URL": nats_url,
        "FLEET_PROFILE": settings.profile,
        "FLEET_ADAPTERS": settings.adapters,
        "FLEET_LEASE_SECONDS": str(settings.lease_seconds),
        "FLEET_LOG_LEVEL": settings.log_level,
        "FLEET_METRICS_HOST": settings.metrics_host,
        "FLEET_METRICS_PORT": str(settings.metrics_port),
        "FLEET_METRICS_DISCOVERY": str(metrics_folder(settings)),
        "FLEET_RULES_PATH": settings.rules_path and str(settings.rules_path.absolute()),
        "FLEET_CATALOGUE_PATH": settings.catalogue_path and str(settings.catalogue_path.absolute()),
        "FLEET_CALIBRATIONS_PATH": settings.calibrations_path and str(settings.calibrations_path.absolute()),
        "FLEET_ROUTERS_PATH": settings.routers_path and str(settings.routers_path.absolute()),
    }
    return {name: value for name, value in chosen.items() if value}


def metrics_folder(settings: Settings) -> Path:
    """Return the folder in which the processes of a local fleet say where their metrics are."""
    return (settings.metrics_discovery or settings.data_dir / "metrics").absolute()
