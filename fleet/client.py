"""Everything a Python service imports to use the fleet; needs NATS and nothing of Ray or a model.

async with FleetClient.connect("nats://127.0.0.1:4222", tenant="acme") as client:
    result = await client.run(task="classify.intent", messages=[{"role": "user", "content": "..."}])

`SyncFleetClient` has the same verbs for Django, Flask and scripts. What is in `__all__` is public; all else may change.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial, update_wrapper
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fleet.background import Background, Caller
from fleet.bulk.inbox import Inbox
from fleet.model.attempt import Answer, Attempt, Cached, Failure, FailureKind, Features, Outcome, Usage
from fleet.model.calibration import Probe
from fleet.model.errors import (
    ConfigError,
    DuplicateJob,
    FieldError,
    FleetError,
    InvalidFeedback,
    InvalidJob,
    LoginRefused,
    QueueRefused,
    QueueUnavailable,
    Unreachable,
)
from fleet.model.feedback import Feedback, Verdict
from fleet.model.job import JOB_ID, ChatRequest, JobOptions, Lane, Plan, Tier
from fleet.model.reason import Reason
from fleet.model.result import Problem, Result, Status
from fleet.model.submission import Submission, submission_of
from fleet.ports import JobDesk
from queues.jetstream.client.login import ANONYMOUS, Credentials
from queues.jetstream.desk import JetStreamDesk

__all__ = [
    "ANONYMOUS",
    "Answer",
    "Attempt",
    "Cached",
    "ChatRequest",
    "ConfigError",
    "Credentials",
    "DuplicateJob",
    "Failure",
    "FailureKind",
    "Features",
    "FieldError",
    "FleetClient",
    "FleetError",
    "InvalidFeedback",
    "InvalidJob",
    "JobOptions",
    "Lane",
    "LoginRefused",
    "Outcome",
    "Plan",
    "Probe",
    "Problem",
    "QueueRefused",
    "QueueUnavailable",
    "Reason",
    "Result",
    "Status",
    "Submission",
    "SyncFleetClient",
    "Tier",
    "Unreachable",
    "Usage",
    "Verdict",
    "submission",
]

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

DEFAULT_TIMEOUT_SECONDS = 120.0
CANCEL_TIMEOUT_SECONDS = 30.0

_WORDS = re.compile(r"-?\d+(?:[.,]\d+)*|\w")


def submission(
    *,
    task: str,
    messages: Sequence[Mapping[str, Any]] | None = None,
    request: ChatRequest | None = None,
    **options: Unpack[JobOptions],
) -> Submission:
    """A job ready to submit: either `messages` or a whole OpenAI chat `request`; the caller's trace goes with it.

    Raises: InvalidJob naming the field and the rule; TypeError for an option that does not exist.
    """
    job_id = _job_id(options.pop("id", None))
    return submission_of(job_id, task, _request(messages, request), options, time.time(), _traceparent())


class FleetClient:
    """One tenant's way to the fleet. Use `connect`; every method raises `QueueUnavailable` if the broker is away."""

    def __init__(self, desk: JobDesk, inbox: Inbox) -> None:
        """For a desk of your own: `inbox` must be open and listen to the same desk."""
        self._desk = desk
        self._inbox = inbox

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, nats_url: str, *, tenant: str, credentials: Credentials = ANONYMOUS, login: Credentials | None = None
    ) -> AsyncIterator[FleetClient]:
        """A client for `tenant`, connected for as long as the context lasts. Raises: QueueUnavailable, ConfigError.

        `login` is what `credentials` was called before 0.2.0.
        """
        if login is not None:
            warnings.warn("login is called credentials now", DeprecationWarning, stacklevel=3)
            credentials = login
        async with AsyncExitStack() as stack:
            desk = await JetStreamDesk.connect(nats_url, tenant, credentials)
            stack.push_async_callback(desk.close)
            yield cls(desk, await stack.enter_async_context(Inbox(desk)))

    async def submit(
        self,
        *,
        task: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        request: ChatRequest | None = None,
        only_new: bool = False,
        **options: Unpack[JobOptions],
    ) -> str:
        """Store a job and return its id; once this returns, the job will get exactly one result.

        An `id` that was there already stands for the job that it came with, whatever is sent with it now; `only_new`
        makes that an error. Raises: InvalidJob, DuplicateJob, QueueUnavailable (repeat with the same `id`: it cannot
        run twice).
        """
        job = submission(task=task, messages=messages, request=request, **options)
        await self._store(job, only_new)
        return job.id

    async def submit_many(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        """Store jobs made by `submission`; False where the id came within the last two minutes.

        Raises: QueueUnavailable.
        """
        return await self._desk.submit(submissions)

    async def run(
        self,
        *,
        task: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        request: ChatRequest | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        only_new: bool = False,
        **options: Unpack[JobOptions],
    ) -> Result:
        """Submit a job and wait for its result, across reconnects.

        Where the `id` was there already, the result is that of the earlier job, as `submit` says.
        Raises: TimeoutError after `timeout_seconds`, naming the job, which goes on; InvalidJob; DuplicateJob;
        QueueUnavailable.
        """
        job = submission(task=task, messages=messages, request=request, **options)
        with self._inbox.expecting(job.id) as awaited:
            await self._store(job, only_new)
            return await _within(timeout_seconds, awaited, job.id)

    async def _store(self, job: Submission, only_new: bool) -> None:
        """Store the job; with `only_new` ask for a result first, as the queue remembers ids for two minutes only."""
        if only_new and await self._inbox.stored(job.id) is not None:
            raise DuplicateJob(job.id)
        [is_new] = await self._desk.submit([job])
        if only_new and not is_new:
            raise DuplicateJob(job.id)

    async def wait(self, job_id: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Result:
        """The result of a job submitted before, now or once there is one. Raises: TimeoutError; QueueUnavailable."""
        with self._inbox.expecting(job_id) as awaited:
            stored = await self._inbox.stored(job_id)
            return stored or await _within(timeout_seconds, awaited, job_id)

    async def cancel(self, job_id: str, *, timeout_seconds: float = CANCEL_TIMEOUT_SECONDS) -> bool:
        """Call a job off, waiting or running, and wait until it has ended: True if it ended as cancelled.

        False where it had its result already. An id that nobody has submitted is cancelled too: a job that comes
        under it within a day is not run. Raises: TimeoutError where no dispatcher answers within `timeout_seconds`;
        the wish is stored, and holds; InvalidJob; QueueUnavailable.
        """
        with self._inbox.expecting(job_id) as awaited:
            result = await self._inbox.stored(job_id)
            if result is None:
                await self._desk.cancel(job_id)
                result = await _within(timeout_seconds, awaited, job_id)
        return result.status is Status.CANCELLED

    async def result(self, job_id: str) -> Result | None:
        """The stored result, or None while there is none."""
        return await self._inbox.stored(job_id)

    def results(self) -> AsyncIterator[Result]:
        """Every result of the tenant stored from the moment the iterator is first awaited on."""
        return self._inbox.results()

    async def feedback(self, job_id: str, verdict: Verdict | str, *, text: str | None = None) -> None:
        """Say what the answer of a job was worth: good, bad, edited (`text` is the edited answer) or better.

        Each call is one feedback, and the last one of a job counts. Raises: InvalidFeedback.
        """
        word = _verdict(verdict)
        result = await self._inbox.stored(job_id)
        changed = _is_changed(result, text) if word is Verdict.EDITED else None
        target = None if result is None else result.target
        said = Feedback(
            job_id, "", word, time.time(), text=text, target=target, changed=changed, id=secrets.token_hex(16)
        )
        await self._desk.give_feedback(said)

    async def better(
        self,
        job_id: str,
        *,
        task: str,
        messages: Sequence[Mapping[str, Any]] | None = None,
        request: ChatRequest | None = None,
        **options: Unpack[JobOptions],
    ) -> str:
        """Say that the answer of job `job_id` was not good enough, and submit it again above the target that gave it.

        The request is given again, as the fleet keeps none. Returns the new job's id.
        Raises: InvalidJob, also where no stored result says who answered; QueueUnavailable.
        """
        result = await self._inbox.stored(job_id)
        if result is None or result.target is None:
            raise InvalidJob("id", f"{job_id} must have a stored answer")
        options.setdefault("above", result.target)
        again = submission(task=task, messages=messages, request=request, **options)
        await self.feedback(job_id, Verdict.BETTER)
        await self._desk.submit([again])
        return again.id


def _blocking(
    verb: Callable[Concatenate[FleetClient, Arguments], Coroutine[Any, Any, Value]],
) -> Callable[Concatenate[SyncFleetClient, Arguments], Value]:
    """Make the method that waits for `verb`, with its signature and its documentation."""

    def call(client: SyncFleetClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        return client._caller.call(lambda asynchronous: verb(asynchronous, *args, **kwargs))

    update_wrapper(call, verb)
    return call


class SyncFleetClient:
    """One tenant's way to the fleet without an event loop of the caller's, safe in many threads and after a fork.

    Its verbs are those of `FleetClient`, with the same arguments, results and errors. A time-out or Ctrl-C ends the
    wait and never the job. A closed client raises RuntimeError.
    """

    def __init__(self, caller: Caller[FleetClient]) -> None:
        """For a client that something else holds open, as `fleet.testing` does; use `connect`."""
        self._caller = caller

    @classmethod
    def connect(cls, nats_url: str, *, tenant: str, credentials: Credentials = ANONYMOUS) -> Self:
        """A client that connects when it is first used, and anew in each forked process.

        That first call raises also what `FleetClient.connect` raises; the next call tries again.
        """
        return cls(Background(partial(FleetClient.connect, nats_url, tenant=tenant, credentials=credentials)))

    submit = _blocking(FleetClient.submit)
    submit_many = _blocking(FleetClient.submit_many)
    run = _blocking(FleetClient.run)
    wait = _blocking(FleetClient.wait)
    cancel = _blocking(FleetClient.cancel)
    result = _blocking(FleetClient.result)
    feedback = _blocking(FleetClient.feedback)
    better = _blocking(FleetClient.better)

    def results(self) -> Iterator[Result]:
        """Every result of the tenant stored from the moment the iterator is first asked; each step blocks."""
        return self._caller.iterate(FleetClient.results)

    def close(self) -> None:
        """Disconnect. Calls that still wait raise RuntimeError; their jobs go on. A second call does nothing."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


async def _within(timeout_seconds: float, awaited: asyncio.Future[Result], job_id: str) -> Result:
    try:
        return await asyncio.wait_for(awaited, timeout_seconds)
    except TimeoutError:
        raise TimeoutError(f"job {job_id} has no result after {timeout_seconds:g} s; it goes on, ask again") from None


def _job_id(given: str | None) -> str:
    if given is None:
        return secrets.token_hex(16)
    if not isinstance(given, str) or JOB_ID.fullmatch(given) is None:
        raise InvalidJob("id", f"must match {JOB_ID.pattern}")
    return given


def _request(messages: Sequence[Mapping[str, Any]] | None, request: ChatRequest | None) -> ChatRequest:
    if (messages is None) == (request is None):
        raise InvalidJob("request", "give either messages or a whole request")
    return request if request is not None else {"messages": list(messages or ())}


def _verdict(value: str) -> Verdict:
    try:
        return Verdict(value)
    except ValueError:
        raise InvalidFeedback("verdict", f"must be one of {', '.join(Verdict)}") from None


def _is_changed(result: Result | None, text: str | None) -> bool | None:
    """None where the answer is not stored any more, so that nobody can compare."""
    if result is None or result.answer is None or text is None:
        return None
    return _words_of(text) != _words_of(result.answer.text)


def _words_of(text: str) -> str:
    """The text without whitespace, case and punctuation; a number keeps its sign, its point and its commas."""
    return "".join(_WORDS.findall(text.casefold()))


def _traceparent() -> str | None:
    """The caller's span in W3C form, if it is in one."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
