from __future__ import annotations

import asyncio
from types import MappingProxyType

import pytest
from patience import PATIENCE_SECONDS
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from structlog.testing import capture_logs

from deployments.serve import backend as module
from deployments.serve.backend import RayServeBackend, failure_of
from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.call import Call
from fleet.model.job import Lane


def answer(text: str) -> Answer:
    return Answer({"role": "assistant", "content": text}, "stop", Usage(1, 1), "llama-8b")


def calls(count: int, timeout_seconds: float = 5.0) -> list[Call]:
    return [Call({"messages": [{"role": "user", "content": str(n)}]}, timeout_seconds) for n in range(count)]


async def told(ids) -> None:
    """What reaches every replica."""


async def outcomes(handle, given) -> dict[int, object]:
    found: dict[int, object] = {}
    async for group in RayServeBackend(handle, told).run(given):
        assert group, "a group is never empty"
        for index, outcome in group:
            assert index not in found, "one outcome for each call"
            found[index] = outcome
    return found


def raised_in_replica(cause: Exception) -> RayTaskError:
    return RayTaskError("answer_batch", "traceback", cause)


ERRORS = [
    (BackPressureError(10, 5, retry_after_s=3.0), Failure(FailureKind.OVERLOADED, "", 3.0)),
    (raised_in_replica(BackPressureError(10, 5, retry_after_s=3.0)), Failure(FailureKind.OVERLOADED, "", 3.0)),
    (ActorDiedError(), Failure(FailureKind.CONNECTION, "")),
    (ActorUnavailableError("away", None), Failure(FailureKind.CONNECTION, "")),
    (DeploymentUnavailableError(DeploymentID("llama-8b", "llama-8b")), Failure(FailureKind.CONNECTION, "")),
    (ReplicaUnavailableError("one"), Failure(FailureKind.CONNECTION, "")),
    (GetTimeoutError("late"), Failure(FailureKind.TIMEOUT, "")),
    (ConnectionResetError("gone"), Failure(FailureKind.CONNECTION, "")),
    (raised_in_replica(KeyError("the prompt")), Failure(FailureKind.INTERNAL, "")),
    (ZeroDivisionError("the prompt"), Failure(FailureKind.INTERNAL, "")),
    (asyncio.CancelledError("the prompt"), Failure(FailureKind.CONNECTION, "")),
    (SystemExit("the prompt"), Failure(FailureKind.INTERNAL, "")),
]


@pytest.mark.parametrize(("error", "expected"), ERRORS, ids=lambda value: type(value).__name__)
def test_every_error_of_a_handle_has_its_kind_and_quotes_nothing(error, expected):
    failure = failure_of(error)
    assert (failure.kind, failure.retry_after_seconds) == (expected.kind, expected.retry_after_seconds)
    assert "prompt" not in failure.detail


async def test_groups_arrive_as_the_replica_sends_them(scripted_handle):
    handle = scripted_handle([[(1, answer("b"))], [(0, answer("a")), (2, answer("c"))]])
    groups = [list(group) async for group in RayServeBackend(handle, told).run(calls(3))]
    assert groups == [[(1, answer("b"))], [(0, answer("a")), (2, answer("c"))]]


async def test_the_replica_gets_plain_bodies_and_each_calls_timeout(scripted_handle):
    handle = scripted_handle([[(0, answer("a"))]])
    await outcomes(handle, [Call(MappingProxyType({"messages": []}), 7.0, id="acme.job-1", lane=Lane.BULK)])
    assert handle.sent == [([{"messages": [], "priority": 2}], [7.0], ["acme.job-1"])]
    assert type(handle.sent[0][0][0]) is dict


async def test_a_tenant_that_does_not_share_caches_has_its_salt_in_every_body(scripted_handle):
    handle = scripted_handle([[(0, answer("a")), (1, answer("b"))]])
    await outcomes(handle, [Call({"messages": []}, 7.0, cache_salt="acme"), Call({"messages": []}, 7.0)])
    assert handle.sent[0][0] == [{"messages": [], "cache_salt": "acme", "priority": 1}, {"messages": [], "priority": 1}]


async def test_rows_of_a_file_that_begin_alike_are_one_session_and_nothing_else_is(scripted_handle):
    def asked(text, lane=Lane.BULK, **more):
        return [Call({"messages": [{"role": "user", "content": text}]}, 7.0, lane=lane, **more)]

    async def sessions(given):
        await outcomes(handle := scripted_handle([[(0, answer("a"))]]), given)
        return handle.sessions

    common = "Team 7. " * 40
    assert await sessions(asked(common + "Ada")) == await sessions(asked(common + "Grace")) != []
    assert await sessions(asked(common)) != await sessions(asked(common.replace("7", "8")))
    assert await sessions(asked(common)) != await sessions(asked(common, cache_salt="acme"))
    assert await sessions(asked("short")) == await sessions(asked(common, Lane.INTERACTIVE)) == []


@pytest.mark.parametrize("answered", [0, 1, 2])
async def test_an_error_fails_only_the_calls_that_have_no_answer_yet(scripted_handle, answered):
    script = [[(index, answer(str(index)))] for index in range(answered)]
    found = await outcomes(scripted_handle([*script, ActorDiedError()]), calls(3))
    assert [isinstance(found[index], Answer) for index in range(3)] == [index < answered for index in range(3)]
    assert all(found[index].kind is FailureKind.CONNECTION for index in range(answered, 3))


async def test_a_handle_that_refuses_the_call_fails_all_of_it(scripted_handle):
    found = await outcomes(scripted_handle(BackPressureError(1, 1)), calls(2))
    assert {outcome.kind for outcome in found.values()} == {FailureKind.OVERLOADED}


async def test_calls_the_replica_left_out_are_failures(scripted_handle):
    found = await outcomes(scripted_handle([[(1, answer("b"))]]), calls(2))
    assert found[1] == answer("b")
    assert found[0].kind is FailureKind.INTERNAL


async def test_a_silent_replica_times_out_each_call_at_its_own_time_and_is_cancelled(scripted_handle, monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    handle = scripted_handle([[(0, answer("a"))], None])
    found = await outcomes(handle, [*calls(1), *calls(1, timeout_seconds=0.0), *calls(1, timeout_seconds=0.001)])
    assert found[0] == answer("a")
    assert [found[index].kind for index in (1, 2)] == [FailureKind.TIMEOUT] * 2


async def test_a_late_call_does_not_end_its_neighbours(scripted_handle, monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
    handle = scripted_handle([[], [(1, answer("b"))]])
    found = await outcomes(handle, [*calls(1, timeout_seconds=-1.0), *calls(1)])
    assert found[1] == answer("b")


async def test_closing_the_iterator_cancels_the_request(scripted_handle):
    handle = scripted_handle([[(0, answer("a"))], None])
    groups = RayServeBackend(handle, told).run(calls(2))
    await anext(groups)
    await groups.aclose()
    assert handle.stream.cancelled


async def test_a_finished_request_is_not_cancelled(scripted_handle):
    handle = scripted_handle([[(0, answer("a")), (1, answer("b"))]])
    await outcomes(handle, calls(2))
    assert not handle.stream.cancelled


async def test_every_replica_is_told_which_calls_to_stop(scripted_handle):
    stopped = []

    async def told_here(ids):
        stopped.append(list(ids))

    await RayServeBackend(scripted_handle([]), told_here).stop(["acme.job-1"])
    assert stopped == [["acme.job-1"]]


async def test_a_replica_that_cannot_be_told_harms_nobody(scripted_handle):
    async def nobody_there(ids):
        raise ActorDiedError()

    with capture_logs() as lines:
        await RayServeBackend(scripted_handle([]), nobody_there).stop(["acme.job-1"])
    assert lines == [{"event": "calls_not_stopped", "log_level": "warning", "error": "ActorDiedError"}]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), GeneratorExit(), KeyError("x")])
@pytest.mark.parametrize("when", ["at once", "with the first group", "later"])
async def test_whatever_serve_raises_ends_the_calls_that_are_left_and_nothing_else(error, when):
    class Stream:
        def __init__(self) -> None:
            self.cancelled = False
            self.given = when == "with the first group"

        async def __anext__(self):
            await asyncio.sleep(0)
            if self.given:
                raise error
            self.given = True
            return [(0, answer("yes"))]

        def cancel(self) -> None:
            self.cancelled = True

    class Handle:
        def remote(self, requests, timeouts_seconds, ids):
            if when == "at once" and not isinstance(error, GeneratorExit):
                raise error
            return Stream()

    found = await outcomes(Handle(), calls(3))
    assert set(found) == {0, 1, 2}
    assert all(isinstance(found[index], Failure) for index in (1, 2))


async def test_our_own_cancellation_still_ends_a_batch_and_cancels_the_call():
    class Stream:
        cancelled = False
        awaited = asyncio.Event()

        async def __anext__(self):
            self.awaited.set()
            await asyncio.Event().wait()

        def cancel(self) -> None:
            self.cancelled = True

    stream = Stream()

    class Handle:
        def remote(self, requests, timeouts_seconds, ids):
            return stream

    task = asyncio.create_task(outcomes(Handle(), calls(2)))
    await stream.awaited.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.cancelled


async def test_a_replica_that_answers_what_was_not_asked_for_ever_is_late_all_the_same(monkeypatch):
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.01)

    class Stream:
        async def __anext__(self):
            return [(7, answer("of nobody"))]

        def cancel(self) -> None:
            """The batch is over."""

    class Handle:
        def remote(self, requests, timeouts_seconds, ids):
            return Stream()

    found = await asyncio.wait_for(outcomes(Handle(), calls(2, timeout_seconds=0.01)), PATIENCE_SECONDS)
    assert {each.kind for each in found.values()} == {FailureKind.TIMEOUT}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "x" * 101},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "x" * 101}}]},
    ],
)
async def test_an_answer_longer_than_any_is_none(scripted_handle, monkeypatch, message):
    monkeypatch.setattr(module, "MOST_CHARACTERS", 100)
    long = Answer(message, "stop", Usage(1, 1), "llama-8b")
    found = await outcomes(scripted_handle([[(0, long), (1, answer("x" * 100))]]), calls(2))
    assert found[0].kind is FailureKind.MALFORMED
    assert found[1] == answer("x" * 100)
