"""Measures the writer of the ledger: `python -m benchmarks.ledger [--json] [--lines N] [--kills N] [--restarts N]`.

From a full stream on a real NATS server to rows on SQLite and on PostgreSQL, both waiting for the disk. The ceiling is
the same stream read and thrown away. With `--kills` the writer is a process of its own that is killed again and again,
and PostgreSQL is restarted; then rows and attempts are counted, and every row is verified. `busy_with_others` is the
share of the machine that other processes used before: then rates are low, their ratios and processor times less so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, select

from benchmarks.peers.machine import busy_share
from benchmarks.postgres import PostgresServer
from benchmarks.report import show
from fleet.app import apply_topology
from fleet.ledger.audit.verify import verify
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import entries
from fleet.ledger.writer import BATCH_LINES, LedgerWriter
from fleet.model.attempt import Answer, Attempt, Features, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.ledger import JetStreamLedger
from queues.server.embedded import EmbeddedServer

TENANTS, TARGETS = 20, ("llama-8b", "mixtral-8x7b", "llama-70b", "gpt-4o")
PUBLISHED_AT_ONCE = 1_000
FEATURES = Features(-0.5, -0.1, -0.2, -0.2, -0.1, 3, 1.0, 0.1)
JUDGED = Judged(0.8, OutputKind.SHORT, "2026-11-01")


@dataclass(frozen=True, slots=True)
class Options:
    lines: int
    kills: int
    restarts: int


def entry(number: int) -> LedgerEntry:
    """Return the line of an attempt of a job of its own."""
    now = time.time()
    answer = Answer({}, "stop", Usage(212, 18), "llama-3.1-8b-instruct", FEATURES)
    attempt = Attempt(
        1, TARGETS[number % len(TARGETS)], Reason.ROUTED, now - 0.4, now, answer, 0.93, 0.000_042, judged=JUDGED
    )
    tenant = f"tenant-{number % TENANTS}"
    job_id = f"job-{number:016d}"
    return LedgerEntry(job_id, tenant, Lane.BULK, now, Reason.CONFIDENT, "classify", "paid", Status.SUCCEEDED, attempt)


async def publish(url: str, lines: int) -> None:
    await apply_topology(url)
    connection = await connect(url)
    queue = JetStreamQueue(connection)
    for first in range(0, lines, PUBLISHED_AT_ONCE):
        await queue.publish([entry(number) for number in range(first, min(first + PUBLISHED_AT_ONCE, lines))])
    await connection.close()


async def reading_rate(url: str, lines: int) -> float:
    """Return lines a second that are read and thrown away."""
    feed = await JetStreamLedger.connect(url)
    started_at = time.perf_counter()
    await feed.begin(0)
    count = 0
    while count < lines:
        count += len(await feed.take(BATCH_LINES, 1.0))
    seconds = time.perf_counter() - started_at
    await feed.close()
    return lines / seconds


async def writing_rate(url: str, database: str, lines: int) -> tuple[float, float]:
    """Return lines a second from the stream to rows, and this process's microseconds of processor time for each."""
    engine = engine_for(database_url(database))
    store = LedgerStore(engine, time.time)
    store.open()
    feed = await JetStreamLedger.connect(url)
    started_at, used = time.perf_counter(), time.process_time()
    await LedgerWriter(feed, store, gather_seconds=0.0).catch_up()
    seconds, used = time.perf_counter() - started_at, time.process_time() - used
    await feed.close()
    assert LedgerReader(engine).lines() == lines
    engine.dispose()
    return lines / seconds, used / lines * 1e6


async def rates(options: Options, server: PostgresServer) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder) / "nats") as nats:
        await publish(nats.url, options.lines)
        read = await reading_rate(nats.url, options.lines)
        sqlite, sqlite_us = await writing_rate(nats.url, f"sqlite:///{folder}/ledger.sqlite3", options.lines)
        postgres, postgres_us = await writing_rate(nats.url, server.database(), options.lines)
    return {
        "read_lines_per_second": read,
        "sqlite_rows_per_second": sqlite,
        "postgresql_rows_per_second": postgres,
        "sqlite_writer_us_per_row": sqlite_us,
        "postgresql_writer_us_per_row": postgres_us,
        "sqlite_share_of_reading": sqlite / read,
        "postgresql_share_of_reading": postgres / read,
    }


class KilledWriter:
    """`fleet ledger run` as a process that is killed and started again."""

    def __init__(self, nats_url: str, database: str) -> None:
        self._command = [sys.executable, "-m", "fleet.cli", "ledger", "run"]
        self._environment = {**os.environ, "FLEET_NATS_URL": nats_url, "FLEET_LEDGER_URL": database}
        self._environment["FLEET_LOG_LEVEL"] = "error"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def killed(options: Options, database: str, nats_url: str, server: PostgresServer | None = None) -> Mapping[str, float]:
    """Kill the writer, and restart the server, at even steps of the work; return what is there at the end."""
    engine = engine_for(database_url(database))
    faults = [*("kill" for _ in range(options.kills)), *("restart" for _ in range(options.restarts))]
    random.Random(1).shuffle(faults)
    writer = KilledWriter(nats_url, database)
    writer.start()
    for number, fault in enumerate(faults, 1):
        _wait_for(engine, number * options.lines // (len(faults) + 2))
        if fault == "kill":
            writer.kill()
            writer.start()
        elif server is not None:
            server.stop()
            server.start()
    _wait_for(engine, options.lines)
    writer.kill()
    reader = LedgerReader(engine)
    state, [sums] = reader.state(), reader.attempt_sums((), "", "9")
    found = {
        "attempts": options.lines,
        "kills": options.kills,
        "restarts": options.restarts,
        "rows": _rows(engine),
        "rows_in_sums": sums.attempts,
        "repeated": state.duplicates,
        "missed": state.missed,
        "faults_that_verify_finds": sum(len(report.faults) for report in verify(engine, "bench", None, None)),
    }
    engine.dispose()
    return found


def _rows(engine: Engine) -> int:
    try:
        with engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(entries)) or 0)
    except Exception:  # the server is restarting, or the writer has made no table yet
        return 0


def _wait_for(engine: Engine, rows: int) -> None:
    while _rows(engine) < rows:
        time.sleep(0.05)


async def killing(options: Options, server: PostgresServer) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder) / "nats") as nats:
        await publish(nats.url, options.lines)
        return await asyncio.to_thread(killed, options, server.database(), nats.url, server)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--no-rates", action="store_true", help="kill only")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    options = Options(arguments.lines, arguments.kills, arguments.restarts)
    figures: dict[str, float] = {"busy_with_others": busy_share(2.0)}
    with PostgresServer(durable=True) as server:
        if not arguments.no_rates:
            figures |= asyncio.run(rates(options, server))
        if options.kills or options.restarts:
            figures |= asyncio.run(killing(options, server))
    show(figures, arguments.json)


if __name__ == "__main__":
    main()
