"""`fleet ledger run` as a process of its own, killed in the middle of its work, with a real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.ledger import Options, killed, publish
from benchmarks.postgres import PostgresServer
from queues.server.embedded import EmbeddedServer

pytestmark = pytest.mark.e2e

LINES = 6_000
WHOLE = {"rows": LINES, "rows_in_sums": LINES, "missed": 0, "faults_that_verify_finds": 0}


async def test_a_writer_that_is_killed_again_and_again_writes_every_attempt_once_to_sqlite(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "nats") as nats:
        await publish(nats.url, LINES)
        url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
        found = await asyncio.to_thread(killed, Options(LINES, kills=3, restarts=0), url, nats.url)
    assert found == {**found, **WHOLE}


async def test_neither_kills_nor_a_restart_of_postgresql_cost_or_repeat_an_attempt(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with EmbeddedServer(tmp_path / "nats") as nats:
        await publish(nats.url, LINES)
        options = Options(LINES, kills=2, restarts=2)
        found = await asyncio.to_thread(killed, options, postgres_server.database(), nats.url, postgres_server)
    assert found == {**found, **WHOLE}
