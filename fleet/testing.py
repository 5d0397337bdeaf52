"""A fleet in memory with scripted answers, to test a service without a broker, a model or a network.

async with MemoryFleet({"classify.sentiment": "positive"}) as fleet:
    assert await my_service(fleet.client("acme")) == ...

The client and the broker are the real ones: what they refuse here they refuse in production, and jobs, results and
feedback pass through the same bytes. In place of the dispatcher something answers each job at once, as scripted. With
the real one the answer would depend on rules, thresholds and prices that a service neither knows nor chooses, and that
operators change; how a service takes each kind of result does not. So a test says which result comes: `Answered`, also
after an escalation, `Failed`, `Expired` or `Unanswered`. Quotas, delays and budgets are not enforced.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from fleet.background import Background
from fleet.bulk.inbox import Inbox
from fleet.client import FleetClient, SyncFleetClient
from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Outcome, Usage
from fleet.model.delivery import Ack, JobsOf, Transition
from fleet.model.feedback import Feedback
from fleet.model.job import Job, Lane
from fleet.model.reason import Reason
from fleet.model.result import Malformed, Problem, Result, Status
from policies.resilience.cancellation import CANCELLED
from queues.jetstream.stores.cancels import MemoryCancels
from queues.memory import MemoryBroker, MemoryDesk, MemoryQueue
from queues.wire.feedback import decode_feedback
from queues.wire.result import decode_result, encode_result

__all__ = [
    "Answered",
    "Expired",
    "Failed",
    "Feedback",
    "Job",
    "MemoryFleet",
    "Reply",
    "Script",
    "Unanswered",
    "UnscriptedTask",
]

Value = TypeVar("Value")

AT_ONCE = 100
"""Jobs that one lane takes together."""

IDLE_SECONDS = 3600.0

LOW_CONFIDENCE = 0.2
"""That of an answer that was not good enough."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its text, or an OpenAI assistant message such as one with tool calls.

    `escalated_from` are the targets whose answers were not good enough, in order. `confidence` is the probability that
    the answer is good, `cost_usd` what `target` took for it, and `status` either SUCCEEDED or BEST_EFFORT.
    """

    content: str | Mapping[str, Any]
    target: str = "llama-8b"
    confidence: float | None = 0.95
    escalated_from: Sequence[str] = ()
    cost_usd: float = 0.0
    status: Status = Status.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Failed:
    """No target could answer: `kind` is how the last of them, `target`, failed."""

    message: str = "every target failed"
    kind: FailureKind = FailureKind.SERVER_ERROR
    target: str = "llama-8b"


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline passed before there was an answer."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The job waits: for a service's own time-out, or until the service cancels it."""


Reply = str | Answered | Failed | Expired | Unanswered
Script = Callable[[Job], Reply] | Mapping[str, Reply | Callable[[Job], Reply]]
"""What answers a job: a function of it, or by its task a reply or such a function."""


class UnscriptedTask(AssertionError):
    """A job came for a task that the script does not name."""


class MemoryFleet:
    """Answers jobs as scripted: with `async with` for asynchronous clients, with `with` for synchronous ones.

    `jobs` are those that came, in order. An unscripted task, or an error in the script, gives the job a failed result
    and is raised when the block ends, so that no test passes over it.
    """

    def __init__(self, script: Script) -> None:
        self.jobs: list[Job] = []
        self._script = script
        self._broker = MemoryBroker()
        self._queue = MemoryQueue(self._broker)
        self._errors: list[BaseException] = []
        self._stack: AsyncExitStack | None = None
        self._background = Background(self._running)
        self._is_background = False

    def client(self, tenant: str) -> FleetClient:
        """A client of `tenant`, open as long as the `async with` block. Raises RuntimeError outside one."""
        if self._stack is None or self._is_background:
            raise RuntimeError("client() needs `async with MemoryFleet(...)`; in a `with` block use sync_client()")
        desk = MemoryDesk(self._broker, tenant)
        inbox = Inbox(desk)
        inbox.open()
        self._stack.push_async_exit(inbox)
        return FleetClient(desk, inbox)

    def sync_client(self, tenant: str) -> SyncFleetClient:
        """A client of `tenant`, open as long as the `with` block. Raises RuntimeError outside one."""
        if not self._is_background:
            raise RuntimeError("sync_client() needs `with MemoryFleet(...)`; in an `async with` block use client()")
        return SyncFleetClient(_Shared(self._background, MemoryDesk(self._broker, tenant)))

    def feedback(self) -> Sequence[Feedback]:
        """What was said of answers, oldest first."""
        recorded = self._broker.recorded("feedback")
        read = (decode_feedback(each.message.data, each.message.subject, each.stored_at) for each in recorded)
        return [each for each in read if isinstance(each, Feedback)]

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self._running())
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._stack is not None, "it was entered"
        stack, self._stack = self._stack, None
        await stack.aclose()
        self._tell(error)

    def __enter__(self) -> Self:
        self._is_background = True
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._background.close()
        self._tell(error)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[MemoryFleet]:
        loops = [*(self._serve(JobsOf(lane)) for lane in Lane), self._cancel()]
        tasks = [asyncio.create_task(loop) for loop in loops]
        await asyncio.sleep(0)  # each waits by now for its first message
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, source: JobsOf) -> None:
        while True:
            for delivery in await self._queue.take(source, AT_ONCE, IDLE_SECONDS):
                result = self._result_of(delivery.body)
                if result is not None and not _is_readable(result):
                    result = self._unreadable(result)
                outbound = () if result is None else (result,)
                [committed] = await self._queue.commit([Transition(outbound, Ack(delivery))])
                if result is not None and not committed.settled:
                    await self._queue.commit([Transition((self._unreadable(result),), Ack(delivery))])

    def _unreadable(self, result: Result) -> Result:
        """The failed result in place of one that nobody could read; the test has to hear of it."""
        error = TypeError(f"the scripted reply to task {result.task!r} cannot be stored: {result.answer!r}")
        self._errors.append(error)
        return replace(
            result,
            status=Status.FAILED,
            reason=Reason.INTERNAL_ERROR,
            answer=None,
            target=None,
            confidence=None,
            attempts=(),
            problem=Problem(str(error).encode(errors="replace").decode()),
        )

    async def _cancel(self) -> None:
        """Answer those that are cancelled; the broker refuses a second result, as of a job that was answered."""
        async for wishes in MemoryCancels(self._broker).follow():
            for each in wishes:
                ended = (CANCELLED.status, CANCELLED.reason, time.time())
                await self._queue.publish([Result(each.job_id, each.tenant, *ended, problem=CANCELLED.problem)])

    def _result_of(self, body: object) -> Result | None:
        """What the fleet stores for a message; None where it stays without a result."""
        if isinstance(body, Malformed):
            rejected = (Status.REJECTED, Reason.INVALID, time.time())
            return Result(body.job_id, body.tenant, *rejected, problem=body.problem)
        assert isinstance(body, Job), "a queue of jobs holds nothing else"
        self.jobs.append(body)
        if body.deadline_at is not None and body.deadline_at <= time.time():
            return _result(body, Expired())
        try:
            return _result(body, self._reply_to(body))
        except BaseException as error:  # the script is the user's code, as is pytest.fail; the test has to hear of it
            self._errors.append(error)
            return _result(body, Failed(str(error), FailureKind.INTERNAL))

    def _reply_to(self, job: Job) -> Reply:
        script: object = self._script
        if isinstance(script, Mapping):
            if job.task not in script:
                known = ", ".join(map(repr, script)) or "none"
                raise UnscriptedTask(f"no answer is scripted for task {job.task!r}; scripted tasks: {known}")
            script = script[job.task]
        reply = script(job) if callable(script) else script
        if not isinstance(reply, Reply):
            raise TypeError(
                f"the script of task {job.task!r} must give a str or a reply of fleet.testing, not {reply!r}"
            )
        if isinstance(reply, Answered):
            _check(job, reply)
        return reply

    def _tell(self, error: BaseException | None) -> None:
        """Raise what went wrong with the script, or say so beside the error that ends the block."""
        for each in self._errors:
            if error is None:
                raise each
            error.add_note(f"MemoryFleet: {type(each).__name__}: {each}")


class _Shared:
    """Makes one tenant's calls on the loop of a fleet, each with a client of its own."""

    def __init__(self, background: Background[MemoryFleet], desk: MemoryDesk) -> None:
        self._background = background
        self._desk = desk

    def call(self, use: Callable[[FleetClient], Coroutine[Any, Any, Value]]) -> Value:
        async def with_client(_: MemoryFleet) -> Value:
            async with Inbox(self._desk) as inbox:
                return await use(FleetClient(self._desk, inbox))

        return self._background.call(with_client)

    def iterate(self, use: Callable[[FleetClient], AsyncIterator[Value]]) -> Iterator[Value]:
        return self._background.iterate(lambda _: use(FleetClient(self._desk, Inbox(self._desk))))

    def close(self) -> None:
        """Nothing of its own is open between two calls."""


def _is_readable(result: Result) -> bool:
    try:
        decode_result(encode_result(result))
    except Exception:  # whatever the script gave in place of what a reply holds
        return False
    return True


def _check(job: Job, reply: Answered) -> None:
    numbers = (reply.cost_usd, 0.0 if reply.confidence is None else reply.confidence)
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise TypeError(f"the scripted reply to task {job.task!r} must have finite numbers: {reply!r}")


def _result(job: Job, reply: Reply) -> Result | None:
    match reply:
        case str():
            return _answered(job, Answered(reply))
        case Answered():
            return _answered(job, reply)
        case Failed():
            failure = Failure(reply.kind, reply.message)
            attempt = _attempt(1, reply.target, failure)
            return _ended(job, Status.FAILED, Reason.ALL_FAILED, (attempt,), Problem(reply.message))
        case Expired():
            problem = Problem("the deadline passed before there was an answer", field="deadline")
            return _ended(job, Status.EXPIRED, Reason.DEADLINE_PASSED, problem=problem)
        case Unanswered():
            return None


def _answered(job: Job, reply: Answered) -> Result:
    if isinstance(reply.content, str):
        message: Mapping[str, Any] = {"role": "assistant", "content": reply.content}
    else:
        message = {"role": "assistant", **reply.content}
    answer = Answer(message, "tool_calls" if message.get("tool_calls") else "stop", Usage(), reply.target)
    earlier = [Answer({"role": "assistant"}, "stop", Usage(), target) for target in reply.escalated_from]
    attempts = [_attempt(number, each.model, each, LOW_CONFIDENCE) for number, each in enumerate(earlier, start=1)]
    last = _attempt(len(earlier) + 1, reply.target, answer, reply.confidence, reply.cost_usd)
    reason = Reason.CONFIDENT if reply.status is Status.SUCCEEDED else Reason.LADDER_EXHAUSTED
    result = _ended(job, reply.status, reason, (*attempts, last))
    return replace(result, answer=answer, target=reply.target, confidence=reply.confidence)


def _attempt(
    number: int, target: str, outcome: Outcome, confidence: float | None = None, cost_usd: float = 0.0
) -> Attempt:
    reason = Reason.ROUTED if number == 1 else Reason.LOW_CONFIDENCE
    now = time.time()
    return Attempt(number, target, reason, now, now, outcome, confidence, cost_usd)


def _ended(
    job: Job, status: Status, reason: Reason, attempts: tuple[Attempt, ...] = (), problem: Problem | None = None
) -> Result:
    return Result(
        job.id,
        job.tenant,
        status,
        reason,
        time.time(),
        job.task,
        job.submitted_at,
        attempts=attempts,
        problem=problem,
        metadata=job.metadata,
    )
