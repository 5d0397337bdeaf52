"""A service without an event loop has the same verbs: in many threads, after a fork, and until it closes them."""

from __future__ import annotations

import asyncio
import errno
import inspect
import signal
import threading
from _thread import interrupt_main
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from memory_fleet import MemoryFleet, echo
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from patience import PATIENCE_SECONDS

from fleet import background
from fleet.background import Background
from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient, InvalidFeedback, InvalidJob, QueueUnavailable, Result, SyncFleetClient, submission
from fleet.model.delivery import Stored
from fleet.model.job import Job
from queues.wire.letters import Message

HELLO = [{"role": "user", "content": "hello"}]
SOON = 0.01

VERBS = [name for name, verb in vars(FleetClient).items() if inspect.iscoroutinefunction(verb) and name[0] != "_"]


class Opening:
    """Opens a client of a fleet in memory, which then is `fleet`; the first ones fail as told."""

    def __init__(self, answer: Callable[[Job], Result | None] = echo, failures: int = 0) -> None:
        self.fleet = MemoryFleet(answer)
        self.count = 0
        self._failures = failures

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[FleetClient]:
        self.count += 1
        if self.count <= self._failures:
            raise QueueUnavailable("no server")
        async with self.fleet.running():
            desk = self.fleet.desk("acme")
            async with Inbox(desk, SOON) as inbox:
                yield FleetClient(desk, inbox)


@pytest.fixture
def opening() -> Opening:
    return Opening()


@pytest.fixture
def client(opening: Opening) -> Iterator[SyncFleetClient]:
    with SyncFleetClient(Background(opening)) as client:
        yield client


def text(result: Result | None) -> str:
    assert result is not None
    assert result.answer is not None
    return result.answer.text


@pytest.mark.parametrize("verb", VERBS)
def test_every_coroutine_has_a_blocking_twin(verb: str) -> None:
    blocking, asynchronous = getattr(SyncFleetClient, verb), getattr(FleetClient, verb)
    assert not inspect.iscoroutinefunction(blocking)
    assert blocking.__doc__ == asynchronous.__doc__
    assert list(inspect.signature(blocking).parameters.values()) == list(
        inspect.signature(asynchronous).parameters.values()
    )


def test_nothing_public_is_missing() -> None:
    assert {"submit", "run", "wait", "cancel", "feedback"} <= set(VERBS)
    public = {name for name in vars(FleetClient) if name[0] != "_"}
    assert public <= set(vars(SyncFleetClient))


def test_every_verb_does_its_part(client: SyncFleetClient, opening: Opening) -> None:
    assert text(client.run(task="chat", messages=HELLO)) == "hello"
    job_id = client.submit(task="chat", messages=HELLO)
    assert text(client.wait(job_id)) == text(client.result(job_id)) == "hello"
    assert client.cancel(job_id) is False
    client.feedback(job_id, "good")
    assert text(client.wait(client.better(job_id, task="chat", messages=HELLO))) == "hello"
    assert list(client.submit_many([submission(task="chat", messages=HELLO, id=job_id)])) == [False]
    assert len(opening.fleet.broker.stored("feedback")) == 2


def test_many_threads_share_one_connection_and_each_gets_its_own_result(
    client: SyncFleetClient, opening: Opening
) -> None:
    threads = 16
    together = threading.Barrier(threads)

    def ask(number: int) -> str:
        together.wait()
        return text(client.run(task="chat", messages=[{"role": "user", "content": str(number)}]))

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(ask, range(threads))) == [str(number) for number in range(threads)]
    assert opening.count == 1


def test_nothing_is_opened_before_it_is_used(client: SyncFleetClient, opening: Opening) -> None:
    before = opening.count
    client.result("nobody-knows-this-id")
    assert (before, opening.count) == (0, 1)


def test_an_opening_that_fails_is_told_and_the_next_call_tries_again() -> None:
    with SyncFleetClient(Background(Opening(failures=1))) as client:
        with pytest.raises(QueueUnavailable, match="no server"):
            client.submit(task="chat", messages=HELLO)
        assert text(client.run(task="chat", messages=HELLO)) == "hello"


def test_a_thread_that_gets_no_event_loop_is_told_and_the_next_call_tries_again(
    client: SyncFleetClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_loop() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.events, "new_event_loop", no_loop)
        with pytest.raises(OSError, match="Too many open files"):
            client.submit(task="chat", messages=HELLO)
    assert text(client.run(task="chat", messages=HELLO)) == "hello"


def test_errors_are_those_of_the_asynchronous_client(client: SyncFleetClient) -> None:
    with pytest.raises(InvalidJob, match="lane: must be one of"):
        client.submit(task="chat", messages=HELLO, lane="express")
    with pytest.raises(InvalidFeedback, match="verdict: must be one of"):
        client.feedback("my-own-job-id-0001", "meh")
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        client.wait("my-own-job-id-0001", timeout=5)  # type: ignore[call-arg]


def test_a_time_out_ends_the_wait_and_not_the_job() -> None:
    taken = threading.Event()
    opening = Opening(answer=lambda job: taken.set())
    with SyncFleetClient(Background(opening)) as client:
        with pytest.raises(TimeoutError, match="job my-own-job-id-0001 has no result"):
            client.run(task="chat", messages=HELLO, id="my-own-job-id-0001", timeout_seconds=SOON)
        assert taken.wait(PATIENCE_SECONDS)
        [job] = opening.fleet.jobs
        client._caller.call(lambda _: opening.fleet.publish(echo(job)))
        assert text(client.wait(job.id)) == "hello"


def test_an_interrupt_ends_the_wait_and_not_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    outcome = background._outcome

    def waited(future: Future[Any]) -> Any:
        waiting.set()
        return outcome(future)

    def interrupt(job: Job) -> None:
        assert waiting.wait(PATIENCE_SECONDS)
        interrupt_main(signal.SIGINT)  # as one that comes just before the thread blocks: it is noted, and wakes nobody

    monkeypatch.setattr(background, "_outcome", waited)
    opening = Opening(answer=interrupt)
    with SyncFleetClient(Background(opening)) as client:
        with pytest.raises(KeyboardInterrupt):
            client.run(task="chat", messages=HELLO, timeout_seconds=PATIENCE_SECONDS)
        [job] = opening.fleet.jobs
        opening.fleet.answer = echo
        assert text(client.run(task="chat", messages=HELLO)) == "hello"
        assert client.result(job.id) is None
        # The interrupt came to the loop before these two, so nobody waits there any more.
        assert client._caller.call(waited_for) == []


async def waited_for(client: FleetClient) -> list[str]:
    return list(client._inbox._waiting)


def test_a_job_carries_the_trace_of_the_thread_that_submits_it(
    client: SyncFleetClient, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[str] = []
    store = opening.fleet.broker.store

    def storing(message: Message) -> Stored:
        traced.extend(filter(None, [(message.headers or {}).get("traceparent")]))
        return store(message)

    monkeypatch.setattr(opening.fleet.broker, "store", storing)
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        client.run(task="chat", messages=HELLO)
    [traceparent] = traced
    assert trace.format_trace_id(span.get_span_context().trace_id) in traceparent


def test_results_come_as_they_are_stored(client: SyncFleetClient) -> None:
    results = client.results()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, results)
        ids = set()
        while not first.done():
            ids.add(client.run(task="chat", messages=HELLO).job_id)
        assert first.result().job_id in ids
    results.close()  # type: ignore[attr-defined]


def test_a_forked_process_is_told_to_iterate_anew(client: SyncFleetClient, monkeypatch: pytest.MonkeyPatch) -> None:
    results = client.results()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, results)
        while not first.done():
            client.run(task="chat", messages=HELLO)
    with monkeypatch.context() as child:
        child.setattr(background, "_this_process", lambda: (0, 0))
        with pytest.raises(RuntimeError, match="belongs to the process that began it"):
            next(results)


def test_closing_ends_what_still_waits_and_refuses_what_comes_after() -> None:
    asked = threading.Event()
    opening = Opening(answer=lambda job: asked.set())
    client = SyncFleetClient(Background(opening))
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(client.run, task="chat", messages=HELLO, timeout_seconds=PATIENCE_SECONDS)
        streaming = pool.submit(next, client.results())
        assert asked.wait(PATIENCE_SECONDS)
        client.close()
        for ended in (waiting, streaming):
            with pytest.raises(RuntimeError, match="the client is closed"):
                ended.result(PATIENCE_SECONDS)
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.result("nobody-knows-this-id")


def test_a_client_that_was_never_used_closes_and_no_thread_is_left(opening: Opening) -> None:
    before = set(threading.enumerate())
    SyncFleetClient(Background(opening)).close()
    with SyncFleetClient(Background(opening)) as client:
        client.result("nobody-knows-this-id")
    assert set(threading.enumerate()) <= before
    assert opening.count == 1
