"""A broker, a dispatcher with an instant model and a runner of batches, each a process that may be killed."""

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
from fleet.model.batch import Batch
from queues.batches import JetStreamShelf, TenantBatches, TenantFiles
from queues.jetstream.client.connection import connect
from queues.server.embedded import EmbeddedServer

TENANT = "acme"
KILLABLE = ("runner", "dispatcher", "broker")


class BulkStage:
    """The processes. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = EmbeddedServer(folder / "nats")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
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

    def start(self, name: str, fault: str = "") -> None:
        url = self.server.url
        command = {
            "runner": ["-m", "fleet.cli", "batches", "run"],
            "dispatcher": ["-m", "benchmarks.bulk.dispatcher", url, str(self.ran)],
        }[name]
        environment = {**os.environ, "FLEET_NATS_URL": url, "FLEET_LOG_LEVEL": "warning", VARIABLE: fault}
        environment |= {"FLEET_LEASE_SECONDS": "5", "FLEET_DATA_DIR": str(self._folder)}
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, *command], env=environment, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Kill a process and start it again."""
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
        file = await self.files.create("rows.jsonl")
        for piece, count in content_of(rows):
            await self.files.append(file.id, piece, count)
        batch = Batch(new_batch_id(), TENANT, ENDPOINT, file.id, 86_400.0, time.time())
        await self.batches.create(batch)
        return batch

    def rss_mb(self, name: str) -> float:
        pid = self.server.pid if name == "broker" else self._processes[name].pid
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

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
