"""A part that ends is started again, a part that keeps ending is given up, and both are said and logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from patience import eventually
from structlog.testing import capture_logs

from fleet.model.errors import FleetError
from fleet.supervision.supervisor import Supervisor, how_ended

LOG = "/fleet/fleet.log"


class FakePart:
    """A part that ends when it is told how, and does not start while `error` says why."""

    def __init__(self, name: str, without: str | None = None) -> None:
        self.name = name
        self.without = without
        self.calls: list[str] = []
        self.error: FleetError | None = None
        self.ends: asyncio.Queue[str] = asyncio.Queue()

    async def start(self) -> None:
        self.calls.append("start")
        if self.error is not None:
            raise self.error

    async def ended(self) -> str:
        return await self.ends.get()

    async def stop(self) -> None:
        self.calls.append("stop")


class Told(list[str]):
    """What people were told, and a supervisor that tells it."""

    def supervisor(self, clock: Callable[[], float] = lambda: 0.0) -> Supervisor:
        return Supervisor(self.append, LOG, pauses=(0.0, 0.0), clock=clock)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.proves(
    "A part of `fleet up` that is killed is started again, and the owner told", how="stand-in", subject="One machine"
)
async def test_a_part_that_ends_is_started_again_and_said_to_be(told: Told) -> None:
    supervisor, part = told.supervisor(), FakePart("nats-server")
    await supervisor.add(part)
    with capture_logs() as logged:
        part.ends.put_nowait("was killed (SIGKILL)")
        await eventually(lambda: len(told) == 2)
    await supervisor.stop()
    assert part.calls == ["start", "start", "stop"]
    assert told == ["nats-server was killed (SIGKILL): it is started again", "nats-server was started again"]
    assert [(line["event"], line["part"]) for line in logged] == [
        ("part_ended", "nats-server"),
        ("part_started_again", "nats-server"),
    ]


async def test_a_part_that_the_fleet_needs_and_that_keeps_ending_ends_the_fleet_and_says_why(told: Told) -> None:
    supervisor, part = told.supervisor(), FakePart("nats-server")
    await supervisor.add(part)
    for _ in range(3):
        part.ends.put_nowait("ended with exit code 1")
    error = await supervisor.broken()
    await supervisor.stop()
    assert str(error) == (
        "nats-server ended with exit code 1, 3 times in a row: see /fleet/fleet.log; the fleet ends; "
        "the jobs are kept, and are answered when `fleet up` runs again"
    )
    assert part.calls == ["start", "start", "start", "stop"]


async def test_without_a_part_that_keeps_ending_the_fleet_goes_on_and_says_what_is_missing(told: Told) -> None:
    supervisor, part = told.supervisor(), FakePart("the batch runner", without="no batch goes on")
    await supervisor.add(part)
    part.error = FleetError("no room")
    part.ends.put_nowait("was killed (SIGKILL)")
    with capture_logs() as logged:
        await eventually(lambda: told and "until" in told[-1])
    broken = asyncio.ensure_future(supervisor.broken())
    await asyncio.sleep(0)
    assert not broken.done()
    broken.cancel()
    await supervisor.stop()
    assert told[-1] == (
        "the batch runner did not start (no room), 3 times in a row: see /fleet/fleet.log; "
        "until `fleet up` is started again, no batch goes on"
    )
    assert logged[-1]["event"] == "part_given_up" and logged[-1]["log_level"] == "error"


async def test_a_part_that_has_run_for_a_while_has_all_its_tries_again(told: Told) -> None:
    now = [0.0]
    supervisor, part = told.supervisor(lambda: now[0]), FakePart("nats-server")
    await supervisor.add(part)
    for count in range(1, 8):
        now[0] += 61.0
        part.ends.put_nowait("was killed (SIGKILL)")
        await eventually(lambda so_far=count: told.count("nats-server was started again") == so_far)
    await supervisor.stop()
    assert part.calls == [*["start"] * 8, "stop"]


async def test_stopping_ends_the_last_part_first_starts_nothing_again_and_misses_none(told: Told) -> None:
    supervisor, order = told.supervisor(), []

    class Stopped(FakePart):
        async def stop(self) -> None:
            order.append(self.name)
            self.ends.put_nowait("ended with exit code 0")
            if self.name == "second":
                raise FleetError("it does not stop")

    for name in ("first", "second", "third"):
        await supervisor.add(Stopped(name))
    await supervisor.stop()
    assert order == ["third", "second", "first"]
    assert told == []


async def test_a_part_that_does_not_start_at_first_is_an_error_and_is_stopped_with_the_others(told: Told) -> None:
    supervisor, part = told.supervisor(), FakePart("Ray")
    part.error = FleetError("no room")
    with pytest.raises(FleetError, match="no room"):
        await supervisor.add(part)
    await supervisor.stop()
    assert (part.calls, told) == (["start", "stop"], [])


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "ended with exit code 1"), (-9, "was killed (SIGKILL)"), (-40, "was killed (signal 40)")],
)
def test_an_exit_code_is_told_in_words(code: int, words: str) -> None:
    assert how_ended(code) == words
