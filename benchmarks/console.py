"""Measures the time and the size of each page of the console over a ledger of a million attempts.

    python -m benchmarks.console [--attempts 1000000] [--database sqlite:////tmp/ledger.sqlite3] [--json]

The database is the real one (SQLite in a temporary file unless another is named, which must be empty or made by this
benchmark before); NATS, Ray and Prometheus answer from memory. A time is from the request to the last byte, inside one
process: what a browser adds is its own and the network's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from fleet.app import FleetStatus, InForce, Seen, SpendStatus, TargetStatus
from fleet.console.access import Access
from fleet.console.alerts import Alerts
from fleet.console.app import application
from fleet.console.sources import Sources
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import LedgerStore
from fleet.model.attempt import Answer, Attempt, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.delivery import Depths
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Kept, LedgerEntry, LedgerLine, Problem, Status
from fleet.settings.documents import load_rules
from queues.wire.letters import message_of
from queues.wire.subjects import MSG_ID

ATTEMPTS = 1_000_000
DAYS = 30
BATCH = 2_000
ROUNDS = 5
TENANTS = 200
TASKS = tuple(f"task.{number}" for number in range(20))
TARGETS = ("llama-8b", "mixtral-8x7b", "llama-70b", "gpt-4o", "claude-sonnet")
TOKEN = "a-token-for-the-benchmark"  # noqa: S105
RARE = "tenant-rare"
"""A tenant with ten jobs in all."""

MAX_SECONDS, MAX_BYTES = 0.1, 100_000


@dataclass(frozen=True, slots=True)
class Measured:
    page: str
    median_ms: float
    p95_ms: float
    kilobytes: float
    packed_kilobytes: float


def entries_of(attempts: int, now: float) -> Iterator[LedgerEntry]:
    """Yield the lines of jobs over `DAYS` days, oldest first; one in six has a second attempt."""
    drawn, number, job = random.Random(1), 0, 0
    while number < attempts:
        at = now - 86_400 * DAYS * (1 - number / attempts) - 5
        rare = job % (attempts // 10) == 0
        tenant = RARE if rare else f"tenant-{min(int(drawn.expovariate(0.03)), TENANTS - 1):03d}"
        tries = 2 if drawn.random() < 1 / 6 else 1
        lane, task = drawn.choice(tuple(Lane)), drawn.choice(TASKS)
        for count in range(1, tries + 1):
            last = count == tries
            target = drawn.choices(TARGETS, weights=(70, 14, 8, 5, 3))[0]
            answer = Answer({}, "stop", Usage(412, 57), target)
            judged = Judged(0.74, OutputKind.SHORT, "2026-11-28T0214-7c1e")
            attempt = Attempt(
                count, target, Reason.ROUTED, at - 0.9, at, answer, drawn.random(), drawn.random() * 0.01, judged
            )
            failed = last and drawn.random() < 0.002
            status = Status.FAILED if failed else Status.SUCCEEDED if last else None
            reason = Reason.ALL_FAILED if failed else Reason.CONFIDENT if last else Reason.LOW_CONFIDENCE
            yield LedgerEntry(f"job-{job:016d}", tenant, lane, at, reason, task, "paid", status, attempt)
            number += 1
        job += 1


def fill(url: str, attempts: int, now: float) -> tuple[LedgerReader, float]:
    """Write the lines unless they are there; return the reader and the seconds it took."""
    engine = engine_for(database_url(url))
    store = LedgerStore(engine, lambda: now)
    begun, reader = time.perf_counter(), LedgerReader(engine)
    if store.open().last_sequence < attempts:
        batch: list[LedgerLine] = []
        for sequence, entry in enumerate(entries_of(attempts, now), 1):
            message = message_of(entry)
            assert message.headers is not None, "a line of accounts has an id"
            batch.append(LedgerLine(sequence, entry.at, entry.tenant, message.headers[MSG_ID], message.data))
            if len(batch) == BATCH:
                store.write(batch)
                batch = []
        if batch:
            store.write(batch)
    return reader, time.perf_counter() - begun


def sources_of(reader: LedgerReader, now: float) -> Sources:
    targets = tuple(TargetStatus(name, "fleet", "running", 1, 10) for name in TARGETS)
    status = FleetStatus("nats://127.0.0.1:4222", True, {"JOBS": 1}, targets, (SpendStatus(None, 1.0, 0.0, 50.0),))
    letters = [_letter(number, now) for number in range(1000, 0, -1)]

    async def look() -> Seen:
        return Seen(now, status, Depths())

    async def in_force() -> InForce:
        return InForce({}, {})

    async def read_letters(limit: int, before: int | None) -> Sequence[Kept]:
        return [kept for kept in letters if before is None or kept.sequence < before][:limit]

    async def alerts() -> Alerts:
        return Alerts((), ())

    rules = load_rules(None, None, "gpu")
    ticks = iter(range(10**9))  # nothing is fresh: every page reads anew
    return Sources(
        rules.catalogue, look, in_force, read_letters, lambda: reader, alerts, lambda: now, lambda: 1e6 * next(ticks)
    )


def _letter(number: int, now: float) -> Kept:
    letter = DeadLetter("acme", f"job-{number:016d}", Reason.ALL_FAILED, Problem("every target failed"), b"{}", now)
    return Kept(number, letter)


async def measure(sources: Sources, paths: Sequence[str]) -> list[Measured]:
    app = application(Access(TOKEN), nullcontext(sources))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console") as client,
    ):
        await client.post("/login", data={"token": TOKEN})
        return [await _measured(client, path) for path in paths]


async def _measured(client: httpx.AsyncClient, path: str) -> Measured:
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        async with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            packed = b"".join([chunk async for chunk in answer.aiter_raw()])
        seconds.append(time.perf_counter() - begun)
        assert answer.status_code == 200, (path, answer.status_code)
    plain = await client.get(path, headers={"accept-encoding": "identity"})
    ordered = sorted(seconds)
    return Measured(
        path,
        1000 * statistics.median(ordered),
        1000 * ordered[int(0.95 * (len(ordered) - 1))],
        len(plain.content) / 1000,
        len(packed) / 1000,
    )


def paths_of(reader: LedgerReader, attempts: int) -> list[str]:
    """Return the pages, among them the lists that are hardest on a database: rare values, and pages far back."""
    middle = attempts // 2
    return [
        "/",
        "/jobs",
        f"/jobs?before={middle}",
        "/jobs?status=failed",
        "/jobs?tenant=tenant-000",
        f"/jobs?tenant={RARE}",
        "/jobs?tenant=nobody",
        "/jobs?target=claude-sonnet&lane=bulk",
        f"/jobs?tenant={RARE}&status=failed",
        "/jobs?tenant=tenant-150&status=failed&target=claude-sonnet&lane=bulk",
        "/jobs?status=failed&reason=confident",
        f"/jobs/{RARE}/job-{0:016d}",
        "/money?days=1",
        "/money?days=7",
        "/money?days=30",
        "/dead-letters",
        "/calibrations",
        "/alerts",
    ]


def report(found: Sequence[Measured], attempts: int, filled_seconds: float, as_json: bool) -> None:
    slowest, largest = max(each.p95_ms for each in found), max(each.kilobytes for each in found)
    if as_json:
        print(
            json.dumps(
                {
                    "attempts": attempts,
                    "filled_seconds": round(filled_seconds, 1),
                    "pages": [asdict(each) for each in found],
                }
            )
        )
        return
    width = max(len(each.page) for each in found)
    print(f"{attempts:,} attempts, written in {filled_seconds:.0f} s")
    print(f"{'page':<{width}}  {'median ms':>9}  {'p95 ms':>7}  {'kB':>5}  {'packed kB':>9}")
    for each in found:
        print(
            f"{each.page:<{width}}  {each.median_ms:>9.1f}  {each.p95_ms:>7.1f}"
            f"  {each.kilobytes:>5.1f}  {each.packed_kilobytes:>9.1f}"
        )
    print(f"slowest {slowest:.1f} ms of {1000 * MAX_SECONDS:.0f}, largest {largest:.1f} kB of {MAX_BYTES / 1000:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=ATTEMPTS)
    parser.add_argument("--database", help="sqlite:///path or postgresql://…; without it, a temporary file")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    now = 1_796_094_764.0
    with tempfile.TemporaryDirectory() as folder:
        url = chosen.database or f"sqlite:///{Path(folder) / 'ledger.sqlite3'}"
        reader, filled_seconds = fill(url, chosen.attempts, now)
        found = asyncio.run(measure(sources_of(reader, now), paths_of(reader, chosen.attempts)))
    report(found, chosen.attempts, filled_seconds, chosen.json)


if __name__ == "__main__":
    main()
