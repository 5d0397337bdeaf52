"""A publisher names somebody's subject as the one to reply to, so that the server's own confirmation lands there.

With an account per tenant it lands nowhere. Where tenants share an account it lands, and must do no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from memory_fleet import succeeded
from patience import PATIENCE_SECONDS
from production_nats import ProductionNats
from raw_session import RawSession

from fleet.model.delivery import Delivery, JobsOf, Stored, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane, Plan
from fleet.model.result import Malformed, Result
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.calibrations import JetStreamCalibrations
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.journal import JetStreamJournal
from queues.jetstream.stores.spend import accounts_of
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer
from queues.wire.result import decode_result, encode_result
from queues.wire.subjects import CALIBRATIONS, DEAD, FEEDBACK, JOBS, LEDGER, RESULTS, SPEND, WORK

JOB_ID = "job-of-beta-0001"
DAY = 20_777
SPENT_TODAY = "$KV.spend.2026-11-20.fleet"

FORGED = {
    JOBS: "jobs.bulk.beta",
    WORK: "work.llama-8b.bulk.beta",
    RESULTS: f"results.beta.{JOB_ID}",
    LEDGER: "ledger.beta",
    DEAD: "dead.beta",
    FEEDBACK: "feedback.beta",
    CALIBRATIONS: "$KV.calibrations.llama-8b.chat.short",
    SPEND: SPENT_TODAY,
}
"""A subject of each stream that tenant acme has no right to."""


def result_of_beta() -> Result:
    request = {"messages": [{"role": "user", "content": "Good morning"}]}
    job = Job(JOB_ID, "beta", Lane.BULK, "greet", Plan.PAID, request, 1.0)
    return succeeded(job, "Good morning to you")


def as_read(result: Result) -> Result:
    """What a reader gets of it: attempts without their texts."""
    return decode_result(encode_result(result))


async def forge(url: str, login: Login) -> None:
    """Publish one job of acme for each of the subjects, as the one to reply to, and one to an ordinary inbox."""
    async with RawSession(url, login) as session:
        for subject in FORGED.values():
            assert await session.publish("jobs.standard.acme", reply=subject) == ""
        await session.ask("jobs.standard.acme")


async def subjects_in(connection: Connection) -> dict[str, set[str]]:
    js = connection.nats.jetstream()
    infos = {stream: await js.stream_info(stream, subjects_filter=">") for stream in FORGED}
    return {stream: set(info.state.subjects or ()) for stream, info in infos.items()}


class TestWithAnAccountPerTenant:
    @pytest.fixture
    def servers(self, tmp_path: Path) -> Iterator[ProductionNats]:
        with ProductionNats(tmp_path, options=("--sync", "2m")) as running:
            yield running

    async def test_nothing_lands_outside_the_tenants_own_account(self, servers: ProductionNats) -> None:
        operator = await connect(servers.url, login=servers.login("operator"))
        await apply(operator.nats.jetstream(), TopologySpec())

        async with RawSession(servers.url, servers.login("beta")) as beta:
            assert await beta.listen("results.beta.*", 7) == ""
            await forge(servers.url, servers.login("acme"))
            await operator.nats.request("results.beta.real-result-0001", b"real")
            heard = await beta.heard()

        assert heard == "MSG results.beta.real-result-0001 real"
        assert await subjects_in(operator) == {
            **{stream: set() for stream in FORGED},
            JOBS: {"jobs.standard.acme"},
            RESULTS: {"results.beta.real-result-0001"},
        }
        await operator.close()


class TestWhereTenantsShareAnAccount:
    @pytest.fixture
    async def forged(self, tmp_path: Path) -> AsyncIterator[Connection]:
        """A server without accounts, on which acme has tried them all."""
        with EmbeddedServer(tmp_path / "nats") as server:
            connection = await connect(server.url)
            await apply(connection.nats.jetstream(), TopologySpec())
            await forge(server.url, ANONYMOUS)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all((await subjects_in(connection)).values()):
                    pass  # each answer is a round trip; the confirmations are on their way
            yield connection
            await connection.close()

    async def test_it_does_land_on_every_stream(self, forged: Connection) -> None:
        assert {stream: subject in (await subjects_in(forged))[stream] for stream, subject in FORGED.items()} == (
            dict.fromkeys(FORGED, True)
        )

    async def test_neither_intake_nor_a_runner_takes_it_for_a_job(self, forged: Connection) -> None:
        queue = JetStreamQueue(forged)
        for source in (JobsOf(Lane.BULK), WorkOf("llama-8b", Lane.BULK)):
            [delivery] = await queue.take(source, 10, PATIENCE_SECONDS)
            assert isinstance(delivery, Delivery)
            assert isinstance(delivery.body, Malformed)

    async def test_it_neither_passes_for_a_result_nor_keeps_the_result_out(self, forged: Connection) -> None:
        desk = JetStreamDesk(forged, "beta")
        assert await desk.result(JOB_ID) is None

        stored = [await JetStreamQueue(forged).publish([result_of_beta()]) for _ in range(2)]

        assert stored == [[Stored.NEW], [Stored.REPEAT]]
        assert await desk.result(JOB_ID) == as_read(result_of_beta())

    async def test_a_listener_never_sees_it(self, forged: Connection) -> None:
        desk = JetStreamDesk(forged, "beta")
        async with aclosing(desk.results()) as results:
            first = asyncio.ensure_future(anext(results))
            await JetStreamQueue(forged).depths()  # a round trip: the subscription has arrived before its answer
            await forged.nats.request("results.beta.forged-result-01", b'{"stream":"JOBS","seq":1}')
            await JetStreamQueue(forged).publish([result_of_beta()])
            assert await first == as_read(result_of_beta())

    async def test_it_is_no_label_no_line_of_accounts_and_no_calibration(self, forged: Connection) -> None:
        journal = JetStreamJournal(forged)

        found = [entry async for entry in journal.ledger()], [said async for said in journal.feedback()]

        assert (found, journal.unreadable()) == (([], []), 2)
        assert await JetStreamCalibrations(forged).read_all() == {}

    async def test_no_money_is_spent_on_an_account_it_overwrote(self, forged: Connection) -> None:
        with pytest.raises(QueueUnavailable, match="cannot be read"):
            await accounts_of(JetStreamCells(forged), DAY)
