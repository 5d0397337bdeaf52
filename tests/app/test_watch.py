"""A look at a fleet over one connection, taken again and again."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from patience import eventually
from serve_dashboard import ServeDashboard
from serve_dashboard import serving as serving_dashboard

from fleet.app import Watch, apply_topology, read_status
from fleet.app.status import DispatcherState
from fleet.loopback import free_ports
from fleet.model.calibration import Calibration, CalibrationKey, Fit, Scorer
from fleet.model.delivery import JobsOf
from fleet.model.errors import QueueRefused, QueueUnavailable
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Problem
from fleet.model.scaling import ColdStart, Load, ObservedStart
from fleet.model.submission import Submission
from fleet.settings.environment import Settings, load
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.cold_starts import CellColdStarts
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.ledger import JetStreamLedger
from queues.jetstream.stores.load import JetStreamLoads
from queues.server.embedded import EmbeddedServer

LETTER = DeadLetter("acme", "job-0123456789abcdef", Reason.ALL_FAILED, Problem("every target failed"), b"{}", 5.0)
LINE = LedgerEntry("job-0123456789abcdef", "acme", Lane.BULK, 5.0, Reason.CANCELLED)


@pytest.fixture
def dashboard() -> Iterator[ServeDashboard]:
    with serving_dashboard() as found:
        yield found


@pytest.fixture
def settings(broker: EmbeddedServer, dashboard: ServeDashboard, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in os.environ:
        if name.startswith("FLEET_"):
            monkeypatch.delenv(name)
    return load(nats_url=broker.url, ray_dashboard_url=dashboard.url)


@pytest.fixture
async def connection(broker: EmbeddedServer) -> AsyncIterator[Connection]:
    await apply_topology(broker.url)
    connected = await connect(broker.url)
    yield connected
    await connected.close()


@pytest.fixture
async def watch(settings: Settings, connection: Connection) -> AsyncIterator[Watch]:
    watching = Watch(settings)
    yield watching
    await watching.close()


async def test_a_look_sees_queues_dispatchers_replicas_and_money(
    watch: Watch, connection: Connection, dashboard: ServeDashboard
) -> None:
    await JetStreamDesk(connection, "acme").submit(
        [Submission("job-0123456789abcdef", "chat", {"messages": []}, lane=Lane.BULK)]
    )
    await JetStreamLoads(connection).report(Load("a1", 1.0, shut={"gpt-4o": 9.0}))
    await CellColdStarts(JetStreamCells(connection)).add("llama-8b", ObservedStart(60.0, 5.0))
    await JetStreamQueue(connection).publish([LINE])
    seen = await watch.look()
    assert seen.status.reachable and seen.depths.jobs == {JobsOf(Lane.BULK, "acme"): 1}
    assert [(load.dispatcher, load.shut) for load in seen.loads] == [("a1", {"gpt-4o": 9.0})]
    assert seen.scalings is not None and seen.scalings["llama-8b"].bounds is not None
    assert seen.status.replicas_seen == f"as Serve has them now, by the dashboard {dashboard.url}"
    assert [spend.tenant for spend in seen.status.spend] == [None]
    assert [(each.name, each.state) for each in seen.status.dispatchers] == [("a1", DispatcherState.SILENT)]
    assert {each.name: each.cold_start for each in seen.status.targets}["llama-8b"] == ColdStart(60.0, 1)
    assert seen.ledger_sequence is not None
    await JetStreamQueue(connection).publish([LedgerEntry("job-1", "acme", Lane.BULK, 6.0, Reason.CANCELLED)])
    assert (await watch.look()).ledger_sequence == seen.ledger_sequence + 1


async def test_where_the_broker_is_away_what_ray_says_is_still_seen(
    settings: Settings, hasty_connections: None
) -> None:
    watching = Watch(settings.model_copy(update={"nats_url": "nats://127.0.0.1:9"}))
    seen = await watching.look()
    assert not seen.status.reachable and seen.status.streams == {} and not seen.depths.jobs
    assert seen.scalings is not None and {target.name for target in seen.status.targets} >= {"llama-8b"}
    with pytest.raises(QueueUnavailable):
        await watching.dead_letters(1)


async def test_where_ray_is_away_what_the_broker_says_is_still_seen(settings: Settings, connection: Connection) -> None:
    watching = Watch(settings.model_copy(update={"ray_dashboard_url": "http://127.0.0.1:9"}))
    seen = await watching.look()
    assert seen.status.reachable and seen.scalings is None
    assert {target.state for target in seen.status.targets if target.provider == "fleet"} == {"unknown"}
    await watching.close()


async def test_a_look_after_the_broker_came_back_sees_it_again(
    settings: Settings, tmp_path: Path, hasty_connections: None
) -> None:
    [port] = free_ports(1)
    server = EmbeddedServer(tmp_path / "restarted", port)
    server.start()
    await apply_topology(server.url)
    watching = Watch(settings.model_copy(update={"nats_url": server.url}))
    assert await eventually(lambda: _reachable(watching))
    server.stop()
    assert not await _reachable(watching)
    server.start()
    assert await eventually(lambda: _reachable(watching))
    await watching.close()
    server.stop()


async def _reachable(watch: Watch) -> bool:
    return (await watch.look()).status.reachable


async def test_the_newest_dead_letters_are_read_over_the_same_connection(watch: Watch, connection: Connection) -> None:
    await JetStreamQueue(connection).publish([LETTER])
    assert [kept.letter for kept in await watch.dead_letters(10)] == [LETTER]


async def test_a_calibration_of_a_model_that_is_not_deployed_is_not_in_force(
    watch: Watch, connection: Connection
) -> None:
    target = watch.rules.catalogue.targets["llama-8b"]
    key = CalibrationKey("llama-8b", "classify")
    ours = Calibration(
        key,
        target.model,
        target.revision,
        target.logprobs_mode,
        "v2",
        5.0,
        100,
        Scorer(Fit.PRIOR, ("mean_logit",), (1.0,), 0.0),
    )
    old = Calibration(
        CalibrationKey("llama-8b", "chat"), "an-older-model", "main", target.logprobs_mode, "v1", 5.0, 100, ours.scorer
    )
    before = await watch.in_force()
    await JetStreamCalibrations(connection).put([ours, old])
    found = await watch.in_force()
    assert found.calibrations[key] == ours and found.unused == {old.key: old}
    assert set(found.calibrations) == {*before.calibrations, key}


async def test_a_status_is_one_look(settings: Settings, connection: Connection) -> None:
    status = await read_status(settings)
    assert status.reachable and status.streams["JOBS"] == 0


@pytest.mark.proves("fleet status says how many lines of accounts are not in the ledger's database yet", how="real")
async def test_the_lines_that_no_writer_has_written_are_counted(watch: Watch, connection: Connection) -> None:
    feed = JetStreamLedger(connection)
    before = (await watch.look()).status.ledger_waiting  # no writer has begun: all that there are
    assert before is not None
    entries = [LedgerEntry(f"job-{count}", "acme", Lane.BULK, 5.0, Reason.CANCELLED) for count in range(3)]
    await JetStreamQueue(connection).publish(entries)
    assert (await watch.look()).status.ledger_waiting == before + 3
    stream = await feed.begin((await feed.stream()).last_sequence - 3)
    lines = await feed.take(2, 5.0)
    assert (await watch.look()).status.ledger_waiting == stream.waiting == 3
    await feed.written(lines[-1].sequence)

    async def written() -> bool:
        return (await watch.look()).status.ledger_waiting == 3 - len(lines)

    assert await eventually(written)
    await feed.close()


async def test_a_broker_without_streams_is_told_from_one_that_is_away(settings: Settings) -> None:
    with pytest.raises(QueueRefused, match="fleet topology apply"):
        await read_status(settings)
