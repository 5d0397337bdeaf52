"""Measures what safety from power cuts costs: messages stored per second by sync policy, on 1 and on 3 servers.

The servers run with what `fleet nats-config` writes. Each ratio is against NATS' own default (2m) on as many servers,
measured in the same run; several rounds, and the median counts. All servers share this machine's one disk.

    python -m benchmarks.nats_sync [--messages 4000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop
from nats.errors import Error as NatsError

from benchmarks.report import show
from fleet.model.errors import QueueUnavailable
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import Login
from queues.jetstream.queue import store
from queues.server.config import (
    CLUSTER_PORT_OFFSET,
    MONITOR_PORT_OFFSET,
    ClusterLayout,
    Server,
    Sync,
    files_of,
    users_of,
)
from queues.server.permissions import fleet_users
from queues.wire.letters import Message

ROUNDS = 3
BATCH = 256
ALONE = 300
BODY = b"x" * 300
READY_SECONDS = 30.0
SUBJECT = "work.llama-8b.bulk.bench"


def main() -> None:
    arguments = _arguments()
    rounds = [_round(arguments.messages) for _ in range(ROUNDS)]
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    for name in [name for name in figures if not name.endswith(f"_{Sync.DEFAULT.name.lower()}")]:
        base = f"{name.rsplit('_', 1)[0]}_{Sync.DEFAULT.name.lower()}"
        figures[f"ratio_{name}"] = figures[name] / figures[base]
    show(figures, arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _round(messages: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for count in (1, 3):
        for sync in Sync:
            with _servers(count, sync) as (url, login):
                batched, alone = uvloop.run(_rates(url, login, count, messages))
            name = f"r{count}_{{}}_{sync.name.lower()}"
            figures |= {name.format("batched"): batched, name.format("alone"): alone}
    return figures


@contextmanager
def _servers(count: int, sync: Sync) -> Iterator[tuple[str, Login]]:
    with tempfile.TemporaryDirectory() as folder:
        servers = [Server(f"nats-{n}", "127.0.0.1", port) for n, port in enumerate(_free_ports(count), 1)]
        plan = ClusterLayout(servers, (), sync, store_dir=f"{folder}/streams")
        passwords = {user.variable: "p" + secrets.token_hex(8) for user in users_of(plan)}
        for name, text in files_of(plan).items():
            Path(folder, name).write_text(text)
        running = [_start(Path(folder, f"{server.name}.conf"), passwords) for server in servers]
        try:
            _wait_for(servers)
            operator = fleet_users()[0]
            yield f"nats://127.0.0.1:{servers[0].port}", Login(operator.name, passwords[operator.variable])
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def _start(config: Path, passwords: dict[str, str]) -> subprocess.Popen[bytes]:
    binary = str(Path(sys.executable).with_name("nats-server"))
    return subprocess.Popen(
        [binary, "-c", str(config)],
        env=os.environ | passwords,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(servers: Sequence[Server]) -> None:
    until = time.monotonic() + READY_SECONDS
    for server in servers:
        while not _is_healthy(server):
            if time.monotonic() > until:
                raise QueueUnavailable(f"{server.name} did not start")
            time.sleep(0.05)


def _is_healthy(server: Server) -> bool:
    try:
        url = f"http://127.0.0.1:{server.port + MONITOR_PORT_OFFSET}/healthz"
        with urllib.request.urlopen(url, timeout=2) as reply:  # an address of our own
            return bool(reply.status == 200)
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    """Return free ports for clients whose ports for the other servers and for monitoring are free as well."""
    offsets = (0, CLUSTER_PORT_OFFSET, MONITOR_PORT_OFFSET)
    free = (port for port in range(14_000, 16_000) if all(_is_free(port + offset) for offset in offsets))
    return [next(free) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def _rates(url: str, login: Login, replicas: int, messages: int) -> tuple[float, float]:
    """Return messages per second: in batches of `BATCH`, and each waiting for the one before."""
    connection = await connect(url, login=login)
    await _make_stream(connection, replicas)
    batch = [Message(SUBJECT, BODY)] * BATCH
    await store(connection, batch)
    started = time.perf_counter()
    for _ in range(0, messages, BATCH):
        await store(connection, batch)
    batched = -(-messages // BATCH) * BATCH / (time.perf_counter() - started)
    started = time.perf_counter()
    for _ in range(ALONE):
        await store(connection, batch[:1])
    alone = ALONE / (time.perf_counter() - started)
    await connection.close()
    return batched, alone


async def _make_stream(connection: Connection, replicas: int) -> None:
    """Make the stream, with retries: a cluster needs a moment to choose its leader."""
    for _ in range(100):
        try:
            js = connection.nats.jetstream()
            await js.add_stream(name="WORK", subjects=["work.>"], num_replicas=replicas, retention="workqueue")
            await store(connection, [Message(SUBJECT, BODY)])
            return
        except (QueueUnavailable, NatsError):
            await asyncio.sleep(0.1)
    raise QueueUnavailable("no stream could be made")


if __name__ == "__main__":
    main()
