"""What is said of an older store must not reach the messages of the one that took its place."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, eventually

from fleet.model.delivery import Ack, AnyDelivery, JobsOf, Retry, Source, WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job, Lane, Plan
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Problem, Work
from fleet.model.submission import Submission
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.consuming.inlet import hand_over_of
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue
from queues.jetstream.stores.cells import JetStreamCells
from queues.jetstream.stores.dead import JetStreamDeadLetters
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer

REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}
INTERACTIVE = JobsOf(Lane.INTERACTIVE)


class Store:
    """A server whose store can be lost, or put back to what it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "store"
        self.copy = folder / "copy"
        self.server = EmbeddedServer(self.folder)

    @property
    def url(self) -> str:
        return self.server.url

    async def start(self) -> None:
        self.server.start()
        async with self.connection() as connection:
            await apply(connection.nats.jetstream(), TopologySpec())

    async def lose(self) -> None:
        self.server.stop()
        shutil.rmtree(self.folder)
        await self.start()

    def keep_copy(self) -> None:
        self.server.stop()
        shutil.copytree(self.folder, self.copy)
        self.server.start()

    def restore(self) -> None:
        """Also what a power cut does: what was stored last is gone, and its places are given out again."""
        self.server.stop()
        shutil.rmtree(self.folder)
        shutil.copytree(self.copy, self.folder)
        self.server.start()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = await connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def submit(self, name: str, count: int) -> set[str]:
        """The ids of new jobs that the store has accepted."""
        submissions = [
            Submission(f"job-{name}-{n:012d}", "classify.sentiment", REQUEST, Lane.INTERACTIVE) for n in range(count)
        ]
        async with self.connection() as connection:
            assert all(await JetStreamDesk(connection, "acme").submit(submissions))
        return {each.id for each in submissions}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(tmp_path)
    await made.start()
    yield made
    made.server.stop()


async def broken(connection: Connection, since: int) -> None:
    """Return when the connection has broken and is up again."""
    await eventually(lambda: connection.generation != since)
    async with connection.waiting(PATIENCE_SECONDS):
        pass  # it is up


async def taken(queue: JetStreamQueue, source: Source, count: int) -> list[AnyDelivery]:
    """So many deliveries, however many takes they come in; the connection may break first."""
    found: list[AnyDelivery] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            with suppress(QueueUnavailable):
                found += await queue.take(source, count - len(found), 0.5)
    return found


def ids(deliveries: list[AnyDelivery]) -> set[str]:
    return {each.body.id for each in deliveries if isinstance(each.body, Job)}


@pytest.mark.proves(
    "A NATS server that comes back with an emptied or older store has no wrong job acknowledged", how="real"
)
@pytest.mark.parametrize("verdict", ["ack", "retry", "extend"])
@pytest.mark.parametrize("change", ["lost", "restored"])
async def test_nothing_of_an_older_store_is_settled(store: Store, change: str, verdict: str) -> None:
    async with store.connection() as zombies, store.connection() as others:
        zombie, other = JetStreamQueue(zombies), JetStreamQueue(others)
        if change == "restored":
            # Its own connections break here as well.
            store.keep_copy()
            await broken(zombies, 0)
        await store.submit("old", 5)
        old, since = await taken(zombie, INTERACTIVE, 5), zombies.generation
        if change == "lost":
            await store.lose()
        else:
            store.restore()
        await broken(zombies, since)
        new = await store.submit("new", 5)
        held = await taken(other, INTERACTIVE, 5)
        assert ids(held) == new
        match verdict:
            case "ack":
                await zombie.settle([Ack(each) for each in old])
            case "retry":
                await zombie.settle([Retry(each) for each in old])
            case "extend":
                await zombie.extend(old)
        assert (await other.depths()).jobs == {JobsOf(Lane.INTERACTIVE, "acme"): 5}
        assert await zombie.take(INTERACTIVE, 5, 0.0) == [], "nor is one handed out that another has in hand"
        await other.settle([Ack(each) for each in held])
        assert (await other.depths()).jobs == {}


async def test_what_is_left_of_the_same_store_is_settled_after_a_break(store: Store) -> None:
    await store.submit("old", 5)
    async with store.connection() as connection:
        queue = JetStreamQueue(connection)
        held = await taken(queue, INTERACTIVE, 5)
        await queue.settle([Ack(held[0])])
        store.server.stop()
        store.server.start()
        await broken(connection, 0)
        # One of them is gone already, as after an acknowledgement whose confirmation was lost.
        await queue.settle([Ack(each) for each in held])
        assert (await queue.depths()).jobs == {}


async def test_a_stream_made_anew_behind_a_connection_that_lasts_keeps_its_jobs(store: Store) -> None:
    """Another server of a cluster, or an operator, can do that."""
    await store.submit("old", 5)
    async with store.connection() as connection:
        queue = JetStreamQueue(connection)
        old = await taken(queue, INTERACTIVE, 5)
        js = connection.nats.jetstream()
        await js.delete_stream("JOBS")
        await apply(js, TopologySpec())
        new = await store.submit("new", 5)
        held = await taken(queue, INTERACTIVE, 5)
        with suppress(QueueUnavailable):  # the server does not confirm what it does not know
            await queue.settle([Ack(each) for each in old])
        await queue.settle([Ack(each) for each in old])
        assert (await queue.depths()).jobs == {JobsOf(Lane.INTERACTIVE, "acme"): 5}
        assert ids(held) == new
        assert connection.generation == 0


async def test_work_is_looked_up_like_jobs(store: Store) -> None:
    job = Job("job-000000000001", "acme", Lane.BULK, "classify.sentiment", Plan.PAID, REQUEST, 1.0)
    source = WorkOf("llama-8b", Lane.BULK)
    post = Work(job, "llama-8b", Reason.ROUTED, 1)
    async with store.connection() as connection:
        queue = JetStreamQueue(connection)
        await queue.publish([post])
        old = await taken(queue, source, 1)
        await store.lose()
        await broken(connection, 0)
        await queue.publish([post])
        await queue.settle([Ack(each) for each in old])
        assert len(await taken(queue, source, 1)) == 1


@pytest.mark.parametrize("stream", ["JOBS", "WORK", "DEAD", "STARTS", "CANCELS", "KV_spend", "KV_calibrations"])
async def test_no_number_of_a_stream_is_given_out_again_by_the_next(store: Store, stream: str) -> None:
    async with store.connection() as connection:
        js = connection.nats.jetstream()
        before = (await js.stream_info(stream)).state
        await js.delete_stream(stream)
        await apply(js, TopologySpec())
        after = (await js.stream_info(stream)).state
        assert after.first_seq > max(before.last_seq, before.first_seq)
        assert after.first_seq < 2**53, "every client can hold it"
        await apply(js, TopologySpec())
        assert (await js.stream_info(stream)).state.first_seq == after.first_seq


async def test_a_dead_letters_number_names_nothing_in_the_next_store(store: Store) -> None:
    letter = DeadLetter("acme", "job-000000000001", Reason.INVALID, Problem("bad"), b"{}", 1.0, Lane.BULK)
    async with store.connection() as connection:
        queue, letters = JetStreamQueue(connection), JetStreamDeadLetters(connection)
        await queue.publish([letter])
        [old] = [each.sequence async for each in letters.letters()]
        await connection.nats.jetstream().delete_stream("DEAD")
        await apply(connection.nats.jetstream(), TopologySpec())
        await queue.publish([letter])
        assert await letters.letter(old) is None
        assert not await letters.drop(old)
        assert len([each async for each in letters.letters()]) == 1


async def test_a_revision_of_the_book_of_spend_fits_no_other_bucket(store: Store) -> None:
    async with store.connection() as connection:
        cells = JetStreamCells(connection)
        old = await cells.write("2030-01-31.fleet", b"1", 0)
        assert old is not None
        await store.lose()
        await broken(connection, 0)
        assert await cells.write("2030-01-31.fleet", b"2", 0) is not None
        assert await cells.write("2030-01-31.fleet", b"3", old) is None


def test_a_token_names_its_stream_also_where_it_has_a_domain() -> None:
    plain = hand_over_of("$JS.ACK.JOBS.interactive.1.17.3.1795175686510000000.4")
    domain = hand_over_of("$JS.ACK.hub.ACCOUNT.WORK.llama-8b-bulk.2.17.3.1795175686510000000.4.token")
    assert (plain.stream, plain.sequence, plain.deliveries) == ("JOBS", 17, 1)
    assert (domain.stream, domain.sequence, domain.deliveries) == ("WORK", 17, 2)
