"""Measures what bounded spend costs: `python -m benchmarks.spend [--json]`.

One call reserves its highest price and settles what it came to, on a real NATS server. Latency: one dispatcher, one
call after the other. Throughput: dispatchers that all write to the same two accounts, each as fast as it can.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import show
from fleet.app import SystemClock, apply_topology
from fleet.model.money import Claim, Reservation
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.spend import CellSpendBook
from queues.server.embedded import EmbeddedServer

CALLS = 2_000
CLAIM = Claim("bench", 1_000, 10**15)
SETTINGS = ((1, 1), (1, 64), (8, 8), (64, 1))
"""Numbers of dispatchers, and of calls that each keeps open."""


def book_on(connection: Connection) -> CellSpendBook:
    return CellSpendBook(JetStreamCells(connection), SystemClock(), 600.0)


async def call(book: CellSpendBook) -> float:
    """Reserve and settle one call, and return the seconds until it may go out."""
    asked_at = time.perf_counter()
    [answer] = await book.reserve([CLAIM])
    waited = time.perf_counter() - asked_at
    assert isinstance(answer, Reservation)
    book.settle(answer, 10)
    return waited


async def measure(url: str, dispatchers: int, open_calls: int) -> dict[str, float]:
    connections = [await connect(url) for _ in range(dispatchers)]
    books = [book_on(connection) for connection in connections]
    each = CALLS // (dispatchers * open_calls)

    async def one(book: CellSpendBook) -> list[float]:
        return [await call(book) for _ in range(each)]

    started_at = time.perf_counter()
    waits = [
        wait for waits in await asyncio.gather(*(one(b) for b in books for _ in range(open_calls))) for wait in waits
    ]
    seconds = time.perf_counter() - started_at
    for book, connection in zip(books, connections, strict=True):
        await book.close()
        await connection.close()
    quantiles = statistics.quantiles(waits, n=100)
    prefix = f"{dispatchers}_dispatchers_{open_calls}_open"
    return {
        f"{prefix}_calls_per_second": len(waits) / seconds,
        f"{prefix}_p50_ms": 1_000 * quantiles[49],
        f"{prefix}_p99_ms": 1_000 * quantiles[98],
    }


async def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server:
        await apply_topology(server.url)
        figures: dict[str, float] = {}
        for setting in SETTINGS:
            figures |= await measure(server.url, *setting)
    return figures


if __name__ == "__main__":
    show(asyncio.run(run()), "--json" in sys.argv)
