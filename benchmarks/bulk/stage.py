"""A broker, a dispatcher with an instant model, a runner of batches, a gateway and a client: processes to be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.bulk.rows import ENDPOINT, LinesDigest, content_of
from fleet.app import apply_topology
from fleet.batches.wishes import new_batch_id
from fleet.bulk.reading.splitting import lines_in
from fleet.faults import VARIABLE
from fleet.loopback import free_port
from fleet.model.batch import Batch
from queues.batches import JetStreamShelf, TenantBatches, TenantFiles
from queues.jetstream.client.connection import connect
from queues.server.embedded import EmbeddedServer

TENANT = "acme"
KILLABLE = ("client", "gateway", "runner", "dispatcher", "broker")
"""The client is one that watches the batch: `fleet bulk watch`."""

BROKER_START_SECONDS = 300.0
"""Seconds that a killed broker may take to read its streams again: gigabytes after a million rows."""


class BulkStage:
    """The processes. Use it as a context manager. The broker and the dispatcher run from the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = EmbeddedServer(folder / "nats", start_seconds=BROKER_START_SECONDS)
        self._gateway_port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._spent: Counter[str] = Counter()
        self.ran = folder / "ran"

    async def __aenter__(self) -> Self:
        self.server.start()
        await apply_topology(self.server.url)
        self._connection = await connect(self.server.url, name="bulk-stage")
        shelf = JetStreamShelf(self._connection)
        self.files, self.batches = TenantFiles(shelf, TENANT), TenantBatches(shelf, TENANT)
        self.start("dispatcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        await self._connection.close()
        self.server.stop()

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self._gateway_port}/v1"

    def start(self, name: str, fault: str = "") -> None:
        environment = {
            **os.environ,
            "FLEET_NATS_URL": self.server.url,
            "FLEET_LOG_LEVEL": "warning",
            "FLEET_TENANT": TENANT,
            "FLEET_LEASE_SECONDS": "5",
            "FLEET_DATA_DIR": str(self._folder),
            "FLEET_METRICS_PORT": "0",
            VARIABLE: fault,
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *self._command(name)], env=environment, stdout=log, stderr=log
            )

    def _command(self, name: str) -> list[str]:
        match name:
            case "dispatcher":
                return ["benchmarks.bulk.dispatcher", self.server.url, str(self.ran)]
            case "runner":
                return ["fleet.cli", "batches", "run"]
            case "gateway":
                return ["fleet.cli", "gateway", "run", "--port", str(self._gateway_port), "--keys", "none"]
            case _:
                return ["fleet.cli", "bulk", "watch", self.watched, "--json"]

    def watch(self, batch_id: str) -> None:
        """Start the client, which watches this batch."""
        self.watched = batch_id
        self.start("client")

    def client_saw(self) -> dict[str, object]:
        """Return the batch as the client shows it, once it has ended by itself."""
        self._processes["client"].wait()
        shown: dict[str, object] = json.loads((self._folder / "client.log").read_text().splitlines()[-1])
        return shown

    def kill(self, name: str) -> None:
        """Kill a process and start it again."""
        self._spent[name] += self._running_cpu_ms(name)
        if name == "broker":
            assert self.server.pid is not None
            os.kill(self.server.pid, signal.SIGKILL)
            self.server.stop()
            self.server.start()
            return
        self._processes[name].kill()
        self._processes[name].wait()
        self.start(name)

    def has_died(self, name: str) -> bool:
        return self._processes[name].poll() is not None

    async def submit(self, rows: int) -> Batch:
        """Make a batch without a gateway."""
        file = await self.files.create("rows.jsonl")
        for piece, count in content_of(rows):
            await self.files.append(file.id, piece, count)
        batch = Batch(new_batch_id(), TENANT, ENDPOINT, file.id, 86_400.0, time.time())
        await self.batches.create(batch)
        return batch

    def rss_mb(self, name: str) -> float:
        """Return the resident memory of a process, 0 if it has ended."""
        status = (self._proc(name) / "status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0

    def cpu_ms(self, name: str) -> int:
        """Return the processor time of all processes of this name so far."""
        return self._spent[name] + self._running_cpu_ms(name)

    def _running_cpu_ms(self, name: str) -> int:
        fields = (self._proc(name) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> Path:
        return Path("/proc") / str(self.server.pid if name == "broker" else self._processes[name].pid)

    async def digest(self, batch: Batch) -> LinesDigest:
        """Return the digest of everything that the batch has written."""
        digest = LinesDigest()
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                async for line in lines_in(self.files.read(file_id)):
                    digest.add_line(json.loads(line.data))
        return digest

    def rows_run_twice(self) -> int:
        """Return how many calls there were beyond the first of their row."""
        with self.ran.open("rb") as lines:
            return sum(count - 1 for count in Counter(hash(line) for line in lines).values())
