"""Puts a self-hosted target behind the `Backend` port: one Serve call per micro-batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from deployments.serve.files import AdapterFiles, References
from deployments.serve.merging import merged
from fleet.interruption import is_own, raise_own
from fleet.logs import get_logger
from fleet.model.attempt import Answer, Failure, FailureKind, Outcome
from fleet.model.call import Call
from fleet.model.job import Lane
from policies.prefixes import routing_key

log = get_logger(__name__)

MOST_CHARACTERS = 16 * 1024 * 1024
"""Maximum characters of an answer; equal to the maximum bytes of a provider's reply."""

GRACE_SECONDS = 2.0
"""The replica ends a call at its timeout; only a silent replica's calls are ended from here, this much later."""

Group = Sequence[tuple[int, Outcome]]


class ResponseStream(Protocol):
    """Serve's `DeploymentResponseGenerator`."""

    def __anext__(self) -> Any: ...

    def cancel(self) -> None: ...


class AnswerBatch(Protocol):
    """The streaming remote method of a Serve handle."""

    def remote(
        self,
        requests: Sequence[Mapping[str, Any]],
        timeouts_seconds: Sequence[float],
        ids: Sequence[str],
        *adapted: Any,
    ) -> ResponseStream: ...

    def options(self, *, session_id: str) -> AnswerBatch: ...


StopCalls = Callable[[Collection[str]], Awaitable[object]]
"""Tells every replica to stop the calls with these ids."""


class RayServeBackend:
    """Runs calls on the replicas behind a Serve handle. Safe for many micro-batches at once."""

    def __init__(self, answer_batch: AnswerBatch, stop_calls: StopCalls, files: AdapterFiles | None = None) -> None:
        """Make a backend; without `files`, only adapters that a replica has loaded already can answer."""
        self._answer_batch = answer_batch
        self._stop_calls = stop_calls
        self._files = files

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Group]:
        """Yield the outcome of each call, grouped as the replica groups them; closing the iterator cancels the rest.

        Calls whose adapter's files are still to be read go by themselves, so that the others do not wait for those.
        """
        parts = self._parts(calls)
        if len(parts) == 1:
            async with aclosing(self._run(calls)) as alone:
                async for group in alone:
                    yield group
            return
        async with aclosing(merged([self._run([calls[place] for place in part]) for part in parts])) as groups:
            async for part, group in groups:
                yield [(parts[part][index], outcome) for index, outcome in group]

    def _parts(self, calls: Sequence[Call]) -> Sequence[Sequence[int]]:
        """Return the places of the calls that can go now, and of those that wait for files; without empty parts."""
        missing = frozenset() if self._files is None else self._files.missing({call.adapter for call in calls})
        if not missing:
            return [range(len(calls))]
        waits = [call.adapter in missing for call in calls]
        parts = ([place for place, late in enumerate(waits) if late is part] for part in (False, True))
        return [part for part in parts if part]

    async def _run(self, calls: Sequence[Call]) -> AsyncGenerator[Group, None]:
        open_calls = dict(enumerate(calls))
        late: set[int] = set()
        stream = None
        try:
            adapted = await self._adapted(calls)
            stream = self._routed(calls).remote(
                [_body(call) for call in calls],
                [call.timeout_seconds for call in calls],
                [call.id for call in calls],
                *adapted,
            )
            async with aclosing(_until_late(stream, open_calls, late)) as groups:
                async for group in groups:
                    if adapted:
                        self._forget_what_failed(calls, group)
                    yield group
        except BaseException as error:
            if isinstance(error, GeneratorExit) or is_own(error, asyncio.current_task()):
                raise
            failure = failure_of(error)
            yield [(index, failure) for index in open_calls]
            open_calls.clear()
        finally:
            if stream is not None and (open_calls or late):
                stream.cancel()

    async def _adapted(self, calls: Sequence[Call]) -> tuple[Sequence[str | None], References] | tuple[()]:
        """Return the adapters of the calls, and the references to their files; nothing where no call has one."""
        digests = dict.fromkeys(call.adapter for call in calls if call.adapter is not None)
        if not digests:
            return ()
        return [call.adapter for call in calls], {} if self._files is None else await self._files.of(digests)

    def _forget_what_failed(self, calls: Sequence[Call], group: Group) -> None:
        """Read an adapter's files again at its next use if a replica could not load them.

        A call that failed otherwise says nothing of them: to read 80 MB for each that is late would make more late.
        """
        for index, outcome in group:
            if isinstance(outcome, Failure) and outcome.kind is FailureKind.ADAPTER and self._files is not None:
                self._files.forget(calls[index].adapter or "")

    def _routed(self, calls: Sequence[Call]) -> AnswerBatch:
        """Return the method for a micro-batch: rows of a file come sorted, so that the first row stands for all."""
        first = calls[0]
        key = routing_key(first.request) if first.lane is Lane.BULK else None
        return self._answer_batch if key is None else self._answer_batch.options(session_id=f"{first.cache_salt}.{key}")

    async def stop(self, ids: Collection[str]) -> None:
        """See `Backend.stop`. No handle knows which replica has a call, so all of them are told."""
        try:
            await self._stop_calls(ids)
        except BaseException as error:  # a replica that cannot be told ends its calls at their timeout
            raise_own(error)
            log.warning("calls_not_stopped", error=type(error).__name__)

    async def close(self) -> None:
        """Do nothing: handles belong to Serve."""


def _body(call: Call) -> dict[str, Any]:
    """Return the body of a call with what is the fleet's to say; nobody else can, for the wire has no such fields."""
    salt = {} if call.cache_salt is None else {"cache_salt": call.cache_salt}
    return {**call.request, **salt, "priority": call.priority}


def ray_serve_backend(target: str, files: AdapterFiles | None = None) -> RayServeBackend:
    """Return the backend of a deployed target. Serve must be running in this cluster. Targets may share `files`."""
    # Serve builds applications side by side: the model's may be there later than the dispatcher.
    handle = serve.get_deployment_handle(target, app_name=target, _check_exists=False)

    async def stop_calls(ids: Collection[str]) -> object:
        return await handle.broadcast("stop_calls", list(ids)).results_async(timeout_s=GRACE_SECONDS)

    return RayServeBackend(handle.options(stream=True, method_name="answer_batch"), stop_calls, files)


async def _until_late(
    stream: ResponseStream, open_calls: dict[int, Call], late: set[int]
) -> AsyncGenerator[Group, None]:
    """Yield the stream's groups, then a `Failure` for each call left out or late; empties `open_calls`.

    `late` collects the calls that waited too long; their answers are dropped if they come after all.
    """
    started = asyncio.get_running_loop().time()
    coming: asyncio.Future[Group | BaseException] | None = None
    try:
        while open_calls:
            coming = coming or asyncio.ensure_future(_next_of(stream))
            wait = _last_moment(open_calls) - (asyncio.get_running_loop().time() - started)
            done, _ = await asyncio.wait([coming], timeout=max(0.0, wait))
            group: Group = []
            if done:
                arrived = coming.result()
                coming = None
                if isinstance(arrived, BaseException):
                    yield _ended(arrived, open_calls)
                    open_calls.clear()
                    return
                group = [(index, _bounded(outcome)) for index, outcome in arrived if index in open_calls]
            if not group:  # nothing came, or nothing that was asked for
                group = _late(open_calls, asyncio.get_running_loop().time() - started)
                late.update(index for index, _ in group)
            for index, _ in group:
                del open_calls[index]
            if group:
                yield group
    finally:
        if coming is not None:
            coming.cancel()


def _bounded(outcome: Outcome) -> Outcome:
    """Return the outcome, or a failure if the answer is longer than any provider's may be."""
    if not isinstance(outcome, Answer):
        return outcome
    calls = outcome.message.get("tool_calls") or ()
    length = len(outcome.text) + sum(len(call["function"]["arguments"]) for call in calls)
    return outcome if length <= MOST_CHARACTERS else Failure(FailureKind.MALFORMED, "the answer is too long")


async def _next_of(stream: ResponseStream) -> Group | BaseException:
    """Return the next group, or the error in its place: a CancelledError of Serve's must not be taken for our own."""
    task = asyncio.current_task()
    try:
        return await stream.__anext__()  # type: ignore[no-any-return]  # `ResponseStream` says little
    except BaseException as error:
        if is_own(error, task):
            raise
        return error


def _ended(error: BaseException, open_calls: Mapping[int, Call]) -> Group:
    left_out = Failure(FailureKind.INTERNAL, "the replica left a call out")
    failure = left_out if isinstance(error, StopAsyncIteration) else failure_of(error)
    return [(index, failure) for index in open_calls]


def _last_moment(open_calls: Mapping[int, Call]) -> float:
    return min(call.timeout_seconds for call in open_calls.values()) + GRACE_SECONDS


def _late(open_calls: Mapping[int, Call], elapsed_seconds: float) -> Group:
    return [
        (index, Failure(FailureKind.TIMEOUT, f"no answer within {call.timeout_seconds:g} s"))
        for index, call in open_calls.items()
        if elapsed_seconds >= call.timeout_seconds + GRACE_SECONDS
    ]


def failure_of(error: BaseException) -> Failure:
    """Return the failure for whatever a Serve handle raises. Exceptions of the replica's own code are `INTERNAL`."""
    match error:
        case RayTaskError():
            return failure_of(error.cause)
        case BackPressureError():
            return Failure(FailureKind.OVERLOADED, error.message, error.retry_after_s)
        case RayActorError() | DeploymentUnavailableError() | ReplicaUnavailableError():
            return Failure(FailureKind.CONNECTION, f"no replica: {type(error).__name__}")
        case asyncio.CancelledError():
            return Failure(FailureKind.CONNECTION, "Ray Serve cancelled the call")
        case TimeoutError():
            return Failure(FailureKind.TIMEOUT, "Ray did not answer in time")
        case RayError() | ConnectionError():
            return Failure(FailureKind.CONNECTION, type(error).__name__)
        case _:
            return Failure(FailureKind.INTERNAL, type(error).__name__)
