"""On a server with little room every stream has its share of it: jobs are refused before what was accepted has none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nats.js.api import StreamConfig
from nats.js.errors import APIError, NotFoundError
from structlog.testing import capture_logs

from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueRefused
from fleet.model.submission import Submission
from queues.jetstream.client.client import PermissionRefused
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.codes import Code
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue, store
from queues.jetstream.streams import measuring
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.measuring import LOCK, PROBE, make, unreserved
from queues.jetstream.streams.shares import MARK
from queues.jetstream.streams.topology import ChangeKind, apply
from queues.server.embedded import EmbeddedServer
from queues.wire.letters import Message

MB = 1_000_000
ANEW = TopologySpec(shares_anew=True)
REQUEST = {"messages": [{"role": "user", "content": "q" * 20_000}]}


class SmallServer(EmbeddedServer):
    """Has only `store_bytes` for streams, as of its next start."""

    store_bytes = 12 * MB

    def _config(self) -> str:
        config = json.loads(super()._config())
        config["jetstream"]["max_file_store"] = self.store_bytes
        return json.dumps(config)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmallServer]:
    with SmallServer(tmp_path) as server:
        yield server


@pytest.fixture
async def connection(server: SmallServer) -> AsyncIterator[Connection]:
    connection = await connect(server.url)
    yield connection
    await connection.close()


async def bounds(connection: Connection) -> dict[str, int]:
    infos = await connection.nats.jetstream().streams_info()
    return {info.config.name: info.config.max_bytes for info in infos}


async def fill(connection: Connection, subject: str) -> None:
    """Store messages of 50 kB until the server says that one more is too many."""
    with pytest.raises(QueueRefused):
        for number in range(1000):
            await store(connection, [Message(subject.format(number), b"x" * 50_000)])


async def test_all_streams_together_fit_and_stay_as_they_are(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    first = await bounds(connection)

    kinds = {change.kind for spec in (TopologySpec(), ANEW) for change in await apply(js, spec)}

    assert all(size > 0 for size in first.values())
    assert 0.8 * 12 * MB < sum(first.values()) < 12 * MB
    assert (kinds, await bounds(connection)) == ({ChangeKind.UNCHANGED}, first)


async def test_jobs_fill_their_stream_alone_and_go_on_when_some_are_gone(
    server: SmallServer, connection: Connection
) -> None:
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    desk = JetStreamDesk(connection, "acme")
    with pytest.raises(
        QueueRefused, match=r"jobs\.standard\.acme: JetStream: maximum bytes exceeded: as many jobs wait"
    ):
        for number in range(1000):
            await desk.submit([Submission(f"job-{number:012}", "chat", REQUEST)])

    others = [Message(subject, b"x" * 5_000) for subject in ("work.t.bulk.a", "results.a.b", "ledger.a", "dead.a")]
    assert await store(connection, others) == [Stored.NEW] * 4
    await js.purge_stream("JOBS", keep=5)
    assert await desk.submit([Submission("job-that-comes-later", "chat", REQUEST)]) == [True]


@pytest.mark.parametrize(("stream", "subject"), [("RESULTS", "results.acme.{}"), ("LEDGER", "ledger.acme")])
async def test_the_oldest_records_go(connection: Connection, stream: str, subject: str) -> None:
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())

    for number in range(300):
        assert await store(connection, [Message(subject.format(number), b"x" * 50_000)]) == [Stored.NEW]

    state = (await js.stream_info(stream)).state
    assert (state.last_seq - state.first_seq + 1, state.messages > 10) == (state.messages, True)
    assert state.messages < 300


async def test_full_work_is_told_to_be_tried_again_and_how_full_it_is(connection: Connection) -> None:
    await apply(connection.nats.jetstream(), TopologySpec())
    await fill(connection, "work.t.bulk.a")

    depths = await JetStreamQueue(connection).depths()

    assert (await bounds(connection))["WORK"] == depths.work_fill.limit
    assert 0 <= depths.work_fill.limit - depths.work_fill.size < 51_000
    assert depths.jobs_fill.size == 0


async def test_what_would_be_confirmed_and_gone_at_once_is_refused(connection: Connection) -> None:
    await apply(connection.nats.jetstream(), TopologySpec())
    large = (await bounds(connection))["RESULTS"] // 2 + 1
    stored = await store(connection, [Message("results.a.1", b"x"), Message("results.a.2", b"x" * large)])
    assert stored == [Stored.NEW, Stored.REFUSED]


async def test_a_larger_server_is_shared_out_anew_and_a_smaller_one_is_left_alone(
    server: SmallServer,
) -> None:
    connection = await resized(server, 40 * MB)
    await apply(connection.nats.jetstream(), ANEW)
    sizes = await bounds(connection)
    assert 0.8 * 40 * MB < sum(sizes.values()) < 40 * MB
    await connection.close()

    connection = await resized(server, 4 * MB)
    with capture_logs() as lines:
        await apply(connection.nats.jetstream(), ANEW)
    assert await bounds(connection) == sizes
    assert "store_room_missing" in [line["event"] for line in lines]
    assert await store(connection, [Message("work.t.bulk.a", b"x")]) == [Stored.NEW]
    await connection.close()


async def resized(server: SmallServer, store_bytes: int) -> Connection:
    """To the server as it starts with another size, with the streams it had before."""
    connection = await connect(server.url)
    await apply(connection.nats.jetstream(), TopologySpec())
    await connection.close()
    server.stop()
    server.store_bytes = store_bytes
    server.start()
    return await connect(server.url)


async def test_streams_of_an_older_fleet_are_bounded_and_keep_what_they_hold(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    for info in await js.streams_info():
        await js.update_stream(info.config.evolve(max_bytes=-1, max_msg_size=-1))
    for _ in range(100):
        await store(connection, [Message("ledger.acme", b"x" * 50_000)])

    await apply(js, TopologySpec())

    sizes, held = await bounds(connection), (await js.stream_info("LEDGER")).state
    assert (held.messages, sizes["LEDGER"] >= held.bytes) == (100, True)
    assert sum(sizes.values()) < 12 * MB


async def test_the_bound_of_an_operator_stays(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await apply(js, TopologySpec())
    await js.update_stream((await js.stream_info("DEAD")).config.evolve(max_bytes=MB // 10))
    await apply(js, ANEW)
    assert (await bounds(connection))["DEAD"] == MB // 10


async def test_a_server_without_room_is_refused_with_the_figure_and_the_setting(connection: Connection) -> None:
    js = connection.nats.jetstream()
    await js.add_stream(name="OTHER", subjects=["other"], max_bytes=11 * MB)
    with pytest.raises(ConfigError, match=r"max_file_store: leaves (0\.9|1\.0) MB .* need 2 MB at least: raise it"):
        await apply(js, TopologySpec())


async def test_measuring_the_room_gives_no_name_to_a_second_stream(connection: Connection) -> None:
    """The server removes the files of a deleted stream later: one of the same name then fails now and again."""
    made: list[str] = []

    async def note(advisory: Any) -> None:
        made.append(advisory.subject.rpartition(".")[2])

    await connection.nats.subscribe("$JS.EVENT.ADVISORY.STREAM.CREATED.*", cb=note)
    await apply(connection.nats.jetstream(), TopologySpec())
    await connection.nats.flush()
    assert len([name for name in made if name.startswith(PROBE)]) > 1
    assert len(made) == len(set(made))


async def test_little_room_is_warned_of(connection: Connection) -> None:
    with capture_logs() as lines:
        await apply(connection.nats.jetstream(), TopologySpec())
    [small] = [line for line in lines if line["event"] == "store_room_small"]
    assert 0 < small["refused_beyond_megabytes"] < small["room_megabytes"]


@pytest.mark.parametrize("probe", [f"{PROBE}_7", f"{PROBE}_0123456789ab_7"])
async def test_a_measurement_that_was_broken_off_leaves_nothing_behind(connection: Connection, probe: str) -> None:
    js = connection.nats.jetstream()
    await js.add_stream(name=probe, subjects=[probe], max_bytes=11 * MB)
    await js.add_stream(name=f"{PROBE}S_BOOKED", subjects=[f"{PROBE}S_BOOKED"], max_bytes=1000)
    await apply(js, TopologySpec())
    assert [name for name in await bounds(connection) if name.startswith(PROBE)] == [f"{PROBE}S_BOOKED"], "another's"
    await js.delete_stream(f"{PROBE}S_BOOKED")
    marks = [(info.config.metadata or {})[MARK] for info in await js.streams_info()]
    assert sorted(map(int, marks)) == sorted((await bounds(connection)).values())


async def test_those_that_start_together_on_a_new_server_share_it_out_once(
    server: SmallServer, connection: Connection
) -> None:
    others = [await connect(server.url) for _ in range(2)]
    starters = [each.nats.jetstream() for each in (connection, *others)]

    found = await asyncio.gather(*(apply(js, TopologySpec()) for js in starters))

    kinds = sorted(tuple({change.kind for change in changes}) for changes in found)
    assert kinds == [(ChangeKind.CREATED,), (ChangeKind.UNCHANGED,), (ChangeKind.UNCHANGED,)]
    sizes = await bounds(connection)
    assert 0.8 * 12 * MB < sum(sizes.values()) < 12 * MB
    assert not [name for name in sizes if name.startswith(PROBE)]
    for each in others:
        await each.close()


async def test_those_that_start_together_without_bounds_find_what_the_first_has_made(
    server: SmallServer, connection: Connection
) -> None:
    others = [await connect(server.url) for _ in range(2)]
    starters = [each.nats.jetstream() for each in (connection, *others)]

    found = await asyncio.gather(*(apply(js, TopologySpec(storage="memory")) for js in starters))

    made = [change.stream for changes in found for change in changes if change.kind is ChangeKind.CREATED]
    assert sorted(made) == sorted(await bounds(connection))
    for each in others:
        await each.close()


async def test_a_process_that_crashed_while_it_measured_keeps_nobody_out(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "STALLED_SECONDS", 0.1)
    js = connection.nats.jetstream()
    await js.add_stream(name=LOCK, subjects=[LOCK], description="crashed")

    await apply(js, TopologySpec())

    sizes = await bounds(connection)
    assert LOCK not in sizes
    assert 0.8 * 12 * MB < sum(sizes.values()) < 12 * MB


async def test_a_process_that_stalled_leaves_the_lock_to_whoever_took_it_meanwhile(connection: Connection) -> None:
    js = connection.nats.jetstream()

    async with measuring.alone(js):
        await js.delete_stream(LOCK)
        await js.add_stream(name=LOCK, subjects=[LOCK], description="taken over", max_bytes=1)

    assert (await js.stream_info(LOCK)).config.description == "taken over"
    await js.delete_stream(LOCK)


async def test_streams_of_others_do_not_hide_the_lock(connection: Connection) -> None:
    js = connection.nats.jetstream()
    for number in range(300):  # the server lists 256 at a time
        await js.add_stream(name=f"ACME_{number:03}", subjects=[f"acme.{number}"], storage="memory")

    async with measuring.alone(js):
        assert LOCK in {info.config.name for info in await measuring.all_streams(js)}

    assert LOCK not in {info.config.name for info in await measuring.all_streams(js)}


class Refusing:
    """Stands in for a server that refuses to make streams with this code, so many times."""

    def __init__(self, code: int, times: int) -> None:
        self.made: list[str] = []
        self._configs: list[StreamConfig] = []
        self._code, self._left = code, times

    async def add_stream(self, config: Any) -> None:
        if self._left > 0:
            self._left -= 1
            raise APIError(code=500, err_code=self._code, description="said")
        self.made.append(config.name)
        self._configs.append(config)

    async def delete_stream(self, name: str) -> None:
        self.made.remove(name)

    async def streams_info(self, offset: int) -> list[Any]:
        return [SimpleNamespace(config=config) for config in self._configs if config.name in self.made][offset:]

    async def stream_info(self, name: str) -> Any:
        found = [config for config in self._configs if config.name == name in self.made]
        if not found:
            raise NotFoundError
        return SimpleNamespace(config=found[0])


class Swept(Refusing):
    """Somebody else removes whatever is made, at once."""

    async def delete_stream(self, name: str) -> None:
        raise NotFoundError


class Keeping(Refusing):
    """Stands in for a server that lets this login make streams and remove none."""

    async def delete_stream(self, name: str) -> None:
        raise PermissionRefused(f"$JS.API.STREAM.DELETE.{name}")


async def test_a_login_that_may_remove_no_stream_leaves_the_lock_and_goes_on() -> None:
    js = Keeping(Code.NO_SERVERS, times=0)
    async with measuring.alone(js):
        pass
    assert js.made == [LOCK]


async def test_a_probe_that_somebody_else_has_removed_does_no_harm() -> None:
    js = Swept(Code.NO_SERVERS, times=0)
    assert await unreserved(js, 1) >= 1 << 50
    assert len(js.made) == len(set(js.made)) > 1


async def test_a_stream_is_made_although_the_server_is_still_removing_the_one_before() -> None:
    js = Refusing(Code.STREAM_NOT_STORED, times=2)
    await make(js, StreamConfig(name="JOBS"))
    assert js.made == ["JOBS"]


async def test_a_server_that_cannot_store_is_not_asked_for_ever() -> None:
    with pytest.raises(APIError):
        await make(Refusing(Code.STREAM_NOT_STORED, times=1000), StreamConfig(name="JOBS"))


async def test_a_cluster_that_is_forming_is_not_taken_for_one_without_room() -> None:
    with pytest.raises(QueueRefused, match="wait until the servers of the cluster have found each other"):
        await apply(Refusing(Code.NO_SERVERS, times=1000), TopologySpec(replicas=3))
