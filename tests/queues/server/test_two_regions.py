"""Two regions as docs/how-to/two-regions.md joins them: a JetStream domain each, a leaf node between, mirrors."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from memory_fleet import succeeded
from patience import eventually
from production_nats import ProductionNats, nats_server_binary

from fleet.loopback import free_port, free_ports
from fleet.model.delivery import Ack, JobsOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.submission import Submission
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "two-regions.md"
REQUEST = {"messages": [{"role": "user", "content": "Good morning"}]}
FIRST, SECOND = "job-0000000000000001", "job-0000000000000002"


@dataclass(slots=True)
class Region:
    url: str
    process: subprocess.Popen[bytes]
    operator: Connection

    async def submit(self, job_id: str) -> bool:
        desk = await JetStreamDesk.connect(self.url, "acme")
        [accepted] = await desk.submit([Submission(job_id, "chat", REQUEST, Lane.STANDARD)])
        await desk.close()
        return accepted

    async def messages(self, stream: str) -> int:
        return int((await self.operator.nats.jetstream().stream_info(stream)).state.messages)

    async def lose(self) -> None:
        await self.operator.close()
        self.process.kill()
        self.process.wait()

    async def answer_all(self) -> None:
        queue = JetStreamQueue(self.operator)
        for delivery in await queue.take(JobsOf(Lane.STANDARD), 10, 0.0):
            await queue.publish([succeeded(delivery.body, "done")])
            await queue.settle([Ack(delivery)])


def written(opening: str, *replaced: tuple[str, object]) -> str:
    """Return the block of the page that `opening` is the last words before, with its values replaced by a test's."""
    [text] = re.findall(rf"{re.escape(opening)}\n\n```\w*\n(.*?)```", PAGE.read_text(), re.S)
    for old, new in replaced:
        assert old in text
        text = text.replace(old, str(new))
    return text


def serving(configuration: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([nats_server_binary(), "-c", str(configuration)], stderr=subprocess.DEVNULL)


async def answering(url: str, login: Login = ANONYMOUS) -> Connection:
    async def look() -> list[Connection]:
        try:
            return [await connect(url, login=login)]
        except QueueUnavailable:
            return []

    return (await eventually(look))[0]


@asynccontextmanager
async def regions(folder: Path) -> AsyncIterator[tuple[Region, Region]]:
    east, west, leaf = free_ports(3)
    texts = {
        east: written("`east.conf`", (":4222", f":{east}"), ("/tmp/east", folder / "east"), (":7422", f":{leaf}")),
        west: written("`west.conf`", (":4322", f":{west}"), ("/tmp/west", folder / "west"), (":7422", f":{leaf}")),
    }
    found: list[Region] = []
    started: list[subprocess.Popen[bytes]] = []
    try:
        for port, text in texts.items():
            (path := folder / f"{port}.conf").write_text(text)
            started.append(process := serving(path))
            operator = await answering(f"nats://127.0.0.1:{port}")
            await apply(operator.nats.jetstream(), TopologySpec())
            found.append(Region(f"nats://127.0.0.1:{port}", process, operator))
        yield found[0], found[1]
    finally:
        for each in found:
            if each.process.poll() is None:
                await each.operator.close()
        for process in started:
            process.kill()
            process.wait()


async def mirror(operator: Connection, stream: str = "RESULTS") -> None:
    """Create the mirror that the page describes, or one of another stream, once the other region's API answers."""
    config = written("`RESULTS_east.json`").replace("RESULTS", stream)

    async def created() -> bool:
        reply = await operator.nats.request(f"$JS.API.STREAM.CREATE.{stream}_east", config.encode())
        return "error" not in json.loads(reply.data)

    await eventually(created)


@pytest.mark.proves("Two regions joined by a leaf node keep their jobs apart and mirror results", how="real")
async def test_two_regions_keep_their_jobs_apart_and_read_each_others_results(tmp_path: Path) -> None:
    async with regions(tmp_path) as (east, west):
        assert await east.submit(FIRST)
        assert await west.submit(SECOND)
        assert await west.submit(FIRST), "an id is known in its own region alone"
        assert (await east.messages("JOBS"), await west.messages("JOBS")) == (1, 2)
        await mirror(west.operator)
        await east.answer_all()
        await eventually(lambda: _holds(west, "RESULTS_east"))
        assert (await east.messages("RESULTS"), await west.messages("RESULTS")) == (1, 0)


@pytest.mark.proves("A mirror of JOBS takes jobs away from their region, as the page on two regions warns", how="real")
async def test_a_mirror_of_jobs_takes_them_away(tmp_path: Path) -> None:
    async with regions(tmp_path) as (east, west):
        await east.submit(FIRST)
        await mirror(west.operator, "JOBS")
        await eventually(lambda: _is_empty(east, "JOBS"))
        assert await _holds(west, "JOBS_east")


@pytest.mark.proves("Two regions with TLS, users and accounts mirror results over a leaf node", how="real")
async def test_two_regions_of_nats_config_mirror_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAF_PASSWORD", "invented")
    folders = {name: tmp_path / name for name in ("east", "west")}
    found = {name: ProductionNats(folder, ["acme"], options=["--dev-ca"]) for name, folder in folders.items()}
    leaf = free_port()
    (folders["west"] / "leaf.env").write_text(f'LEAF_URL = "nats-leaf://west:invented@127.0.0.1:{leaf}"\n')
    of_east = (("0.0.0.0:7422", f"127.0.0.1:{leaf}"), ("/etc/fleet/tls", folders["east"] / "tls"))
    of_west = (("/etc/fleet/tls-east", folders["east"] / "tls"),)
    texts = {
        "east": written("which has `LEAF_PASSWORD` in its environment:", *of_east),
        "west": written('`LEAF_URL = "nats-leaf://west:<password>@nats-1.east.example:7422"`:', *of_west),
    }
    processes = []
    for name, text in texts.items():
        path = folders[name] / "region.conf"
        path.write_text(text.replace("/var/lib/fleet/nats", str(folders[name] / "streams")))
        processes.append(serving(path))
    try:
        east, west = [await answering(each.url, each.login("operator")) for each in found.values()]
        for operator in (east, west):
            await apply(operator.nats.jetstream(), TopologySpec())
        await mirror(west)
        await east.nats.jetstream().publish(f"results.acme.{FIRST}", b"{}")
        await eventually(lambda: _has_one(west, "RESULTS_east"))
        assert not await _has_one(west, "RESULTS")
        await east.close()
        await west.close()
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def _has_one(operator: Connection, stream: str) -> bool:
    return (await operator.nats.jetstream().stream_info(stream)).state.messages == 1


async def _is_empty(region: Region, stream: str) -> bool:
    return await region.messages(stream) == 0


async def _holds(region: Region, stream: str) -> bool:
    return await region.messages(stream) == 1


@pytest.mark.proves("A region goes on when the other is lost, and gives out its results from a mirror", how="real")
async def test_a_region_goes_on_when_the_other_is_lost(tmp_path: Path) -> None:
    async with regions(tmp_path) as (east, west):
        await mirror(west.operator)
        await east.submit(FIRST)
        await east.answer_all()
        await eventually(lambda: _holds(west, "RESULTS_east"))
        await east.lose()
        assert await west.submit(SECOND)
        subject = f"$JS.API.DIRECT.GET.RESULTS_east.results.acme.{FIRST}"
        kept = await west.operator.nats.request(subject, b"")
        assert json.loads(kept.data)["id"] == FIRST
