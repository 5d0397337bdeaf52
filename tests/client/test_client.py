"""A backend submits jobs and gets each result once, whatever the stream of results does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from math import inf

import pytest
from memory_fleet import MemoryFleet, echo, succeeded
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from patience import PATIENCE_SECONDS

from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient, submission
from fleet.model.delivery import JobsOf
from fleet.model.errors import DuplicateJob, InvalidJob, QueueUnavailable
from fleet.model.job import JOB_ID, Job, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.submission import Submission
from queues.memory import MemoryBroker, MemoryDesk
from queues.wire.codec import decode
from queues.wire.letters import Message, message_of

HELLO = [{"role": "user", "content": "hello"}]
SOON = 0.01


class DeafDesk(MemoryDesk):
    """Its stream of results never brings any, as after a message lost in a reconnect."""

    async def announced(self) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]


class BreakingDesk(MemoryDesk):
    """Its stream of results breaks whenever it is opened, and the store of results the first time it is asked."""

    asked = 0

    async def announced(self) -> AsyncIterator[str]:
        raise QueueUnavailable("the connection broke")
        yield

    async def result(self, job_id: str) -> Result | None:
        self.asked += 1
        if self.asked == 1:
            raise QueueUnavailable("the connection broke")
        return await super().result(job_id)


class ReopenedDesk(MemoryDesk):
    """Its stream breaks once, and its store is of no help until it is open again."""

    opened = 0

    async def announced(self) -> AsyncIterator[str]:
        self.opened += 1
        if self.opened == 1:
            raise QueueUnavailable("the connection broke")
        [waiting] = self._broker.lease(JobsOf(Lane.STANDARD), 1)
        announced = super().announced()
        first = asyncio.ensure_future(anext(announced))
        await asyncio.sleep(0)
        self._broker.store(answered(waiting.message))
        yield await first

    async def result(self, job_id: str) -> Result | None:
        return await super().result(job_id) if self.opened == 2 else None


def answered(message: Message) -> Message:
    body = decode(JobsOf(Lane.STANDARD), message.data, None, message.subject, 1.0)
    assert isinstance(body, Job)
    return message_of(echo(body))


class InstantDesk(MemoryDesk):
    """The result is stored before `submit` returns."""

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        stored = await super().submit(submissions)
        for held in self._broker.lease(JobsOf(Lane.STANDARD), len(submissions)):
            self._broker.store(answered(held.message))
        return stored


def text(result: Result | None) -> str:
    assert result is not None
    assert result.answer is not None
    return str(result.answer.message["content"])


async def test_run_gives_the_result_of_the_job(client: FleetClient) -> None:
    assert text(await client.run(task="chat", messages=HELLO)) == "hello"


async def test_only_new_refuses_an_id_that_waits_or_was_answered_before(fleet: MemoryFleet) -> None:
    desk, named = MemoryDesk(fleet.broker, "acme"), {"task": "chat", "id": "my-own-job-id-0001"}
    async with Inbox(desk) as inbox:
        client = FleetClient(desk, inbox)
        assert text(await client.run(**named, messages=HELLO, only_new=True)) == "hello"
        other = [{"role": "user", "content": "other"}]
        assert text(await client.run(**named, messages=other)) == "hello"
        fleet.broker._seen.clear()  # the queue forgets ids long before results go
        for verb in (client.run, client.submit):
            with pytest.raises(DuplicateJob, match="my-own-job-id-0001 was there already"):
                await verb(**named, messages=other, only_new=True)
    waiting = DeafDesk(MemoryBroker(), "acme")
    async with Inbox(waiting) as inbox:
        await FleetClient(waiting, inbox).submit(**named, messages=HELLO, only_new=True)
        with pytest.raises(DuplicateJob):
            await FleetClient(waiting, inbox).submit(**named, messages=other, only_new=True)


async def test_many_runs_at_once_get_their_own_results(client: FleetClient) -> None:
    prompts = [f"prompt {number}" for number in range(50)]
    runs = (client.run(task="chat", messages=[{"role": "user", "content": prompt}]) for prompt in prompts)
    assert [text(result) for result in await asyncio.gather(*runs)] == prompts


@pytest.mark.parametrize("kind", [DeafDesk, BreakingDesk])
async def test_a_result_the_stream_does_not_bring_is_found_in_the_store(
    fleet: MemoryFleet, kind: type[MemoryDesk]
) -> None:
    desk = kind(fleet.broker, "acme")
    async with Inbox(desk, SOON) as inbox:
        result = await FleetClient(desk, inbox).run(task="chat", messages=HELLO)
    assert text(result) == "hello"


async def test_a_stream_that_breaks_is_opened_again() -> None:
    desk = ReopenedDesk(MemoryFleet().broker, "acme")
    async with Inbox(desk, SOON) as inbox:
        result = await FleetClient(desk, inbox).run(task="chat", messages=HELLO, timeout_seconds=PATIENCE_SECONDS)
    assert text(result) == "hello"


async def test_the_subscription_is_there_before_the_job() -> None:
    """With sweeps an hour away and a fleet that answers at once, only a subscription made in time brings the result."""
    desk = InstantDesk(MemoryFleet().broker, "acme")
    async with Inbox(desk, 3600.0) as inbox:
        result = await FleetClient(desk, inbox).run(task="chat", messages=HELLO, timeout_seconds=PATIENCE_SECONDS)
    assert text(result) == "hello"


async def test_a_run_that_takes_too_long_names_its_job_and_the_job_goes_on() -> None:
    async with MemoryFleet(answer=lambda job: None).running() as fleet:
        desk = fleet.desk("acme")
        async with Inbox(desk, SOON) as inbox:
            client = FleetClient(desk, inbox)
            with pytest.raises(TimeoutError, match="job my-own-job-id-0001 has no result"):
                await client.run(task="chat", messages=HELLO, id="my-own-job-id-0001", timeout_seconds=0.01)
            [job] = fleet.jobs
            await fleet.publish(echo(job))
            assert text(await client.result(job.id)) == "hello"


async def test_a_result_is_there_to_fetch_and_to_wait_for_later(client: FleetClient) -> None:
    job_id = await client.submit(task="chat", messages=HELLO)
    assert text(await client.wait(job_id)) == "hello"
    assert text(await client.wait(job_id)) == "hello"
    assert text(await client.result(job_id)) == "hello"
    assert await client.result("nobody-knows-this-id") is None


async def test_two_who_wait_for_the_same_job_both_get_its_result(client: FleetClient) -> None:
    job_id = submission(task="chat", messages=HELLO).id
    waiting = [asyncio.create_task(client.wait(job_id)) for _ in range(2)]
    waiting[0].cancel()
    await client.submit(task="chat", messages=HELLO, id=job_id)
    assert text(await waiting[1]) == "hello"


async def test_the_stream_brings_every_result_of_the_tenant(client: FleetClient, fleet: MemoryFleet) -> None:
    results = client.results()
    first = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    await fleet.desk("globex").submit([submission(task="chat", messages=HELLO)])
    job_id = await client.submit(task="chat", messages=HELLO)
    assert (await first).job_id == job_id


async def test_a_repeated_id_is_one_job(client: FleetClient, fleet: MemoryFleet) -> None:
    jobs = [submission(task="chat", messages=HELLO, id="my-own-job-id-0001") for _ in range(2)]
    assert list(await client.submit_many(jobs)) == [True, False]
    await client.wait("my-own-job-id-0001")
    assert len(fleet.jobs) == 1


async def test_what_the_caller_says_of_a_job_arrives_with_it(client: FleetClient, fleet: MemoryFleet) -> None:
    request = {"messages": HELLO, "temperature": 0}
    before = time.time()
    await client.run(
        task="plan.schedule",
        request=request,
        lane="interactive",
        plan="own_key",
        tier="medium",
        deadline_seconds=60,
        max_cost_usd=0.5,
        cloud=["groq"],
        own_key="openai/team-key",
        metadata={"screen": "inbox"},
    )
    [job] = fleet.jobs
    assert (job.tenant, job.task, job.request) == ("acme", "plan.schedule", request)
    assert (job.lane, job.plan, job.tier) == (Lane.INTERACTIVE, Plan.OWN_KEY, Tier.MEDIUM)
    assert (job.max_cost_usd, job.own_key, job.metadata) == (0.5, "openai/team-key", {"screen": "inbox"})
    assert job.cloud.providers == frozenset({"groq"})
    assert job.deadline_at is not None
    assert before + 60 <= job.deadline_at <= time.time() + 60


def test_an_id_is_random_and_fits_a_subject() -> None:
    ids = {submission(task="chat", messages=HELLO).id for _ in range(100)}
    assert len(ids) == 100
    assert all(JOB_ID.fullmatch(job_id) and len(job_id) == 32 for job_id in ids)


@pytest.mark.parametrize(
    ("make", "field", "rule"),
    [
        (lambda: submission(task="chat"), "request", "either messages or a whole request"),
        (lambda: submission(task="chat", messages=HELLO, request={}), "request", "either messages or a whole request"),
        (lambda: submission(task="chat", messages=HELLO, id="short"), "id", "must match"),
        (lambda: submission(task="chat", messages=HELLO, id=5), "id", "must match"),
        (lambda: submission(task="chat", messages=HELLO, deadline_seconds="x"), "deadline_seconds", "finite number"),
        (lambda: submission(task="chat", messages=HELLO, deadline_seconds=inf), "deadline_seconds", "finite number"),
        (lambda: submission(task="chat", messages=HELLO, not_before_seconds=10**400), "not_before_seconds", "finite"),
        (lambda: submission(task="chat", messages=HELLO, lane="express"), "lane", "interactive, standard, bulk"),
        (lambda: submission(task="chat", messages=HELLO, plan="gold"), "plan", "free, paid, own_key"),
        (lambda: submission(task="chat", messages=HELLO, tier="tiny"), "tier", "simple, medium, complex"),
        (lambda: submission(task="chat", messages=HELLO, cloud="openai"), "cloud", "or a list of providers"),
    ],
)
def test_a_wrong_job_is_refused_before_it_is_sent(make: Callable[[], object], field: str, rule: str) -> None:
    with pytest.raises(InvalidJob) as raised:
        make()
    assert raised.value.field == field
    assert rule in raised.value.rule


def test_a_job_carries_the_trace_of_its_caller_if_there_is_one() -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        context = span.get_span_context()
        inside = submission(task="chat", messages=HELLO).traceparent
    assert inside is not None
    assert inside.startswith(f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-")
    assert submission(task="chat", messages=HELLO).traceparent is None


def test_the_client_loads_neither_ray_nor_a_model_nor_a_provider() -> None:
    heavy = {"ray", "torch", "vllm", "openai", "anthropic", "groq", "transformers"}
    code = f"import sys, fleet.client; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


class LateDesk(MemoryDesk):
    """Each result can be read only at the fourth look after it was stored, as from a server that lags."""

    looks = 0

    async def result(self, job_id: str) -> Result | None:
        found = await super().result(job_id)
        self.looks += found is not None
        return found if self.looks % 4 == 0 else None


@pytest.fixture
async def late_client(fleet: MemoryFleet) -> AsyncIterator[FleetClient]:
    """Announcements are all that brings a result: sweeps are an hour away."""
    desk = LateDesk(fleet.broker, "acme")
    async with Inbox(desk, 3600.0) as inbox:
        yield FleetClient(desk, inbox)


async def test_who_was_given_a_result_can_read_it_back(late_client: FleetClient) -> None:
    for _ in range(3):
        given = await late_client.run(task="chat", messages=HELLO, timeout_seconds=30.0)
        assert await late_client.result(given.job_id) == given
        assert await late_client.wait(given.job_id) == given


async def test_who_heard_of_a_result_can_read_it_back(late_client: FleetClient) -> None:
    results = late_client.results()
    first = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    job_id = await late_client.submit(task="chat", messages=HELLO)
    heard = await first
    assert (heard.job_id, await late_client.result(job_id)) == (job_id, heard)


async def test_feedback_and_better_know_the_answer_that_was_just_given(
    late_client: FleetClient, fleet: MemoryFleet
) -> None:
    given = await late_client.run(task="chat", messages=HELLO)
    await late_client.feedback(given.job_id, "edited", text="hello!")
    again = await late_client.better(given.job_id, task="chat", messages=HELLO)
    [edited, better] = await fleet.feedback()
    assert (edited.target, edited.changed, better.target) == (given.target, False, given.target)
    assert (await late_client.wait(again)).job_id == again


async def test_a_cancel_that_took_effect_is_told_so_however_late_it_can_be_read() -> None:
    fleet = MemoryFleet(answer=lambda job: None)
    async with fleet.running():
        desk = LateDesk(fleet.broker, "acme")
        async with Inbox(desk, 3600.0) as inbox:
            client = FleetClient(desk, inbox)
            job_id = await client.submit(task="chat", messages=HELLO)
            cancelling = asyncio.create_task(client.cancel(job_id))
            while not fleet.broker.stored("cancels"):
                await fleet.broker.next_change()
            await fleet.publish(Result(job_id, "acme", Status.CANCELLED, Reason.CANCELLED, 3.0))
            assert await cancelling is True


async def test_of_two_results_the_stored_one_counts_whichever_is_announced() -> None:
    fleet = MemoryFleet(answer=lambda job: None)
    job = Job("my-own-job-id-0001", "acme", Lane.STANDARD, "chat", Plan.PAID, {"messages": HELLO}, submitted_at=1.0)
    await fleet.publish(succeeded(job, "stored"))
    desk = fleet.desk("acme")
    async with Inbox(desk, 3600.0) as inbox:
        heard = inbox.results()
        first = asyncio.ensure_future(anext(heard))
        with inbox.expecting(job.id) as awaited:
            for _ in range(5):  # both listen
                await asyncio.sleep(0)
            await fleet.publish(succeeded(job, "refused"))
            assert (text(await awaited), text(await first)) == ("stored", "stored")
