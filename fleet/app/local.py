"""The whole fleet on this machine: embedded nats-server, Ray with its dashboard, the models, the dispatcher."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fleet.app.broker import apply_topology, login_of
from fleet.app.status import ReplicaCounts, TargetStatus, has_cloud_key, target_statuses
from fleet.app.worker import rules_of
from fleet.loopback import free_ports, is_free
from fleet.model.errors import ConfigError, FleetError, QueueUnavailable
from fleet.settings.environment import Settings
from fleet.webhooks.signing import KEY_VARIABLE
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue
from queues.server.embedded import EmbeddedServer

NO_KEYS = "no cloud keys: escalation stays inside the fleet (set OPENAI_API_KEY, ANTHROPIC_API_KEY or GROQ_API_KEY)"
NO_LEDGER = "no ledger database: pip install 'inference-fleet[ledger]'"

LEDGER_PARTS = ("sqlalchemy", "alembic", "pyarrow", "cryptography")
"""Libraries that the writer of the ledger needs."""

STOP_SECONDS = 30.0
"""Seconds that the writer of the ledger has to write the last lines, and the runner of batches to hand them over."""

DISPATCHER_FACTORY = "fleet.app:dispatcher_from_environment"
READINGS_FACTORY = "fleet.app.scaling:readings_from_environment"


@dataclass(frozen=True, slots=True)
class _Ports:
    """The ports that the parts listen on, on loopback."""

    nats: int
    http: int
    dashboard: int

    @staticmethod
    def of(settings: Settings) -> _Ports:
        """Return the ports the settings ask for, with a port that is free now in place of each 0."""
        wanted = (settings.nats_port, settings.http_port, settings.dashboard_port)
        return _Ports(*(port or free for port, free in zip(wanted, free_ports(len(wanted)), strict=True)))


class Fleet:
    """A running fleet, started by `start`. `notes` tells its owner what is missing.

    In `metrics_folder` its processes say where their metrics are, for Prometheus.
    """

    def __init__(
        self,
        settings: Settings,
        nats_url: str,
        serve_url: str,
        dashboard_url: str | None,
        targets: tuple[str, ...],
        has_ledger: bool,
        parts: AsyncExitStack,
    ) -> None:
        self.nats_url = nats_url
        self.openai_url = serve_url
        self.dashboard_url = dashboard_url
        self.targets = targets
        self.metrics_folder = metrics_folder(settings)
        self.has_ledger = has_ledger
        missing = {NO_KEYS: not has_cloud_key(rules_of(settings)), NO_LEDGER: _lacks_ledger_parts()}
        self.notes = tuple(note for note, is_missing in missing.items() if is_missing)
        self._settings = settings
        self._parts = parts

    async def status(self) -> list[TargetStatus]:
        connection = await connect(self.nats_url, login=login_of(self._settings))
        try:
            depths = (await JetStreamQueue(connection).depths()).by_target()
        finally:
            await connection.close()
        return list(target_statuses(self._settings, depths, await asyncio.to_thread(_replicas)))

    async def stop(self) -> None:
        """Drain the dispatcher, then stop Ray, the runner of batches, the ledger's writer and the broker."""
        await self._parts.aclose()


def _replicas() -> Mapping[str, ReplicaCounts]:
    from deployments import cluster

    found = cluster.status()
    return {name: ReplicaCounts(each.status, each.running, each.message or None) for name, each in found.items()}


async def start(settings: Settings, on_progress: Callable[[str], None]) -> Fleet:
    """Start everything and return once jobs are answered; if a part fails, stop what was started.

    Raises: ConfigError; QueueUnavailable; BackendUnavailable; FleetError if a part is not installed.
    """
    _require_engines()
    rules_of(settings)  # a mistake in a file must show now, not in a replica two minutes later
    ports = _Ports.of(settings)
    async with AsyncExitStack() as parts:
        on_progress("starting NATS")
        nats_url = settings.nats_url or _embedded_nats(settings, ports, parts)
        await apply_topology(nats_url, login_of(settings))
        has_ledger = settings.nats_url is None and _ledger_writer(settings, nats_url, parts)
        if settings.nats_url is None:
            _batch_runner(settings, nats_url, parts)
            _webhooks(settings, nats_url, parts)
        on_progress("starting Ray")
        serve_url, dashboard_url = await asyncio.to_thread(_ray, settings, nats_url, ports, parts)
        on_progress("starting the models (about a minute on a small machine)")
        targets = await asyncio.to_thread(_deploy, settings)
        return Fleet(settings, nats_url, serve_url, dashboard_url, targets, has_ledger, parts.pop_all())
    raise AssertionError("unreachable: the stack does not swallow exceptions")


def _require_engines() -> None:
    if find_spec("ray") is None or find_spec("vllm") is None:
        raise FleetError("models need Ray and vLLM on this machine: pip install 'inference-fleet[cpu]'")


def _embedded_nats(settings: Settings, ports: _Ports, parts: AsyncExitStack) -> str:
    # Checked first: a server that shares the store with the one that holds the port would do harm.
    if settings.nats_port and not is_free(settings.nats_port):
        rule = f"port {settings.nats_port} is taken: stop what listens there, or choose another (0: any free one)"
        raise ConfigError("FLEET_NATS_PORT", rule)
    server = EmbeddedServer(settings.data_dir / "nats", ports.nats)
    try:
        server.start()
    except QueueUnavailable as error:  # its advice is to start a fleet, which we are doing
        raise FleetError(str(error)) from error
    parts.callback(server.stop)
    return server.url


def _ledger_writer(settings: Settings, nats_url: str, parts: AsyncExitStack) -> bool:
    """Start the writer of the ledger as a process of its own; return False where its libraries are not installed.

    The broker must be ours: that of another fleet has a writer elsewhere.
    """
    if _lacks_ledger_parts():
        return False
    _own_process(("ledger", "run"), {"FLEET_LEDGER_URL": settings.ledger_address}, settings, nats_url, parts)
    return True


def _batch_runner(settings: Settings, nats_url: str, parts: AsyncExitStack) -> None:
    """Start the runner of batches as a process of its own. The broker must be ours, as for the ledger's writer."""
    _own_process(("batches", "run"), {}, settings, nats_url, parts)


def _webhooks(settings: Settings, nats_url: str, parts: AsyncExitStack) -> None:
    """Start the process that delivers events. Their key is in the environment, where the gateway finds it too."""
    from fleet.app.webhooks import local_key

    os.environ.setdefault(KEY_VARIABLE, local_key(settings.data_dir))
    _own_process(("webhooks", "run"), {}, settings, nats_url, parts)


def _own_process(
    command: Sequence[str], told: Mapping[str, str], settings: Settings, nats_url: str, parts: AsyncExitStack
) -> None:
    """Start a command of ours, stopped with the fleet."""
    # A session of its own: Ctrl-C in a terminal must not reach it before the dispatcher has sent its last lines.
    process = subprocess.Popen(
        [sys.executable, "-m", "fleet.cli", *command],
        env={**os.environ, **_environment(settings, nats_url), **told},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    parts.callback(_stop, process)


def _lacks_ledger_parts() -> bool:
    return any(find_spec(name) is None for name in LEDGER_PARTS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ray(settings: Settings, nats_url: str, ports: _Ports, parts: AsyncExitStack) -> tuple[str, str | None]:
    from deployments import cluster

    # All of Ray inherits the environment it was started with: the dispatcher's replica reads its settings from it, and
    # so do the scaling policies in Serve's controller.
    os.environ |= _environment(settings, nats_url)
    # Unix socket paths are short: Ray's folder cannot live below an arbitrary data directory.
    folder = tempfile.mkdtemp(prefix="fleet-")
    parts.callback(shutil.rmtree, folder, ignore_errors=True)
    parts.push_async_callback(asyncio.to_thread, cluster.stop)
    started = cluster.start(
        dashboard=settings.dashboard, dashboard_port=ports.dashboard, http_port=ports.http, temp_dir=Path(folder)
    )
    return started.serve_url, started.dashboard_url


def _environment(settings: Settings, nats_url: str) -> dict[str, str]:
    chosen = {
        "FLEET_NATS_URL": nats_url,
        "FLEET_PROFILE": settings.profile,
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


def _deploy(settings: Settings) -> tuple[str, ...]:
    from deployments import cluster
    from deployments.profiles import Profile, models
    from deployments.serve.declared import Declared

    profile = Profile(settings.profile)
    host = {"factory": DISPATCHER_FACTORY}
    declared = Declared(profile, host=host, readings=READINGS_FACTORY, least=settings.least_replicas)
    cluster.deploy(declared.applications())
    return tuple(models(profile))
