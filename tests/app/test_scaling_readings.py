"""What the scaling policies see of the queue: looked at in the background, by one look at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from fleet.app.broker import apply_topology
from fleet.app.scaling import POLL_SECONDS, BrokerLook, Look, SharedReadings, readings_from_environment
from fleet.model.delivery import Depths, JobsOf
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.job import Lane
from fleet.model.scaling import Load
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from fleet.settings.environment import load
from queues.jetstream.client.connection import connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.stores.load import JetStreamLoads
from queues.server.embedded import EmbeddedServer

RULES = load_rules(None, None, "local")
FIRST: Look = (Depths(jobs={JobsOf(Lane.BULK, "acme"): 1}), ())
SECOND: Look = (Depths(jobs={JobsOf(Lane.BULK, "acme"): 2}), ())


class Clock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        return self.time


class ScriptedLook:
    """Each look ends when it is let go, with the next of the script."""

    def __init__(self, *script: Look | Exception) -> None:
        self.script = list(script)
        self.begun = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> Look:
        self.begun += 1
        await self.go.wait()
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def readings(*script: Look | Exception) -> tuple[SharedReadings, ScriptedLook, Clock]:
    look, clock = ScriptedLook(*script), Clock()
    return SharedReadings(look, RULES, clock), look, clock


async def asked(shared: SharedReadings, clock: Clock) -> Look | None:
    """What it says once whatever it began has ended."""
    shared.latest(clock.now())
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await task
    return shared.latest(clock.now())


async def test_asking_never_waits_and_the_next_time_it_is_known() -> None:
    shared, _, clock = readings(FIRST)
    assert shared.latest(clock.now()) is None
    assert await asked(shared, clock) == FIRST


async def test_it_looks_again_when_it_is_time_and_not_before() -> None:
    shared, look, clock = readings(FIRST, SECOND)
    for _ in range(10):
        assert await asked(shared, clock) == FIRST
    assert look.begun == 1
    clock.time += POLL_SECONDS
    assert await asked(shared, clock) == SECOND


async def test_a_look_that_takes_long_is_alone() -> None:
    shared, look, clock = readings(FIRST, SECOND)
    look.go.clear()
    for _ in range(5):
        shared.latest(clock.now())
        await asyncio.sleep(0)
        clock.time += POLL_SECONDS
    assert look.begun == 1
    look.go.set()
    assert await asked(shared, clock) is not None


async def test_what_is_too_old_is_not_known() -> None:
    shared, look, clock = readings(FIRST, SECOND)
    await asked(shared, clock)
    look.go.clear()
    clock.time += RULES.scaling.stale_seconds
    assert shared.latest(clock.now()) == FIRST
    clock.time += 0.1
    assert shared.latest(clock.now()) is None
    look.go.set()
    assert await asked(shared, clock) == SECOND


@pytest.mark.parametrize("error", [QueueUnavailable("away"), ConfigError("nats_user", "is refused"), KeyError("state")])
async def test_a_look_that_fails_leaves_what_was_seen_until_that_is_too_old(error: Exception) -> None:
    shared, _, clock = readings(FIRST, error, SECOND)
    seen = []
    for _ in range(3):
        seen.append(await asked(shared, clock))
        clock.time += POLL_SECONDS
    assert seen == [FIRST, FIRST, SECOND]


async def test_a_clock_that_steps_back_does_not_keep_it_from_looking() -> None:
    shared, look, clock = readings(FIRST, SECOND)
    await asked(shared, clock)
    clock.time -= 3600
    assert await asked(shared, clock) == SECOND
    assert look.begun == 2


async def test_trouble_is_told_when_it_begins_and_when_it_ends() -> None:
    away = QueueUnavailable("nobody answers")
    shared, _, clock = readings(away, away, FIRST, SECOND)
    with capture_logs() as told:
        for _ in range(4):
            await asked(shared, clock)
            clock.time += POLL_SECONDS
    assert told == [
        {"event": "scaling_broker_away", "log_level": "warning", "error": "QueueUnavailable: nobody answers"},
        {"event": "scaling_broker_back", "log_level": "info"},
    ]


async def test_jobs_and_reports_on_a_real_broker_are_seen_over_one_connection(broker: EmbeddedServer) -> None:
    await apply_topology(broker.url)
    look = BrokerLook(load(nats_url=broker.url))
    assert await look() == (Depths(), [])
    desk, connection = await JetStreamDesk.connect(broker.url, "acme"), await connect(broker.url)
    try:
        await desk.submit([Submission("job-0123456789abcdef", "chat", {"messages": []}, Lane.BULK)])
        await JetStreamLoads(connection).report(Load("one", 1_000.0, cpu_share=0.5))
        first = look._connection
        depths, loads = await look()
        assert (depths.jobs, _names(loads)) == ({JobsOf(Lane.BULK, "acme"): 1}, ["one"])
        assert look._connection is first
    finally:
        await desk.close()
        await connection.close()
        await look._connection.close()


async def test_a_connection_that_was_given_up_is_made_anew(broker: EmbeddedServer) -> None:
    await apply_topology(broker.url)
    look = BrokerLook(load(nats_url=broker.url))
    await look()
    first = look._connection
    await first.nats.close()  # as nats-py does by itself when a user's right to be there has ended
    assert await look() == (Depths(), [])
    assert look._connection is not first
    await look._connection.close()


@pytest.mark.usefixtures("hasty_connections")
async def test_without_a_broker_a_look_fails_as_the_queue_does() -> None:
    with pytest.raises(QueueUnavailable):
        await BrokerLook(load(nats_url="nats://127.0.0.1:1"))()


def test_all_policies_of_a_process_share_the_readings_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_NATS_URL", "nats://127.0.0.1:1")
    readings_from_environment.cache_clear()
    first = readings_from_environment()
    assert readings_from_environment() is first
    assert first.rules.catalogue.targets["llama-8b"].serving is not None
    readings_from_environment.cache_clear()


def _names(loads: Sequence[Load]) -> list[str]:
    return [load.dispatcher for load in loads]
