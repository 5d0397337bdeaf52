"""What every stream of cancellations does, whatever it is made of."""

from __future__ import annotations

import asyncio

import pytest
from patience import PATIENCE_SECONDS
from queue_rigs import Rig

from fleet.model.cancellation import Cancellation
from fleet.model.errors import InvalidJob
from fleet.model.reason import Reason
from fleet.model.result import Result, Status

FIRST, SECOND = "job-000000000001", "job-000000000002"


async def next_of(following) -> list[Cancellation]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return list(await anext(following))


async def test_wishes_are_read_back_and_then_as_they_come(rig: Rig) -> None:
    await rig.desk("acme").cancel(FIRST)
    following = rig.cancels().follow()
    assert await next_of(following) == [Cancellation("acme", FIRST)]

    coming = asyncio.create_task(next_of(following))
    await rig.desk("globex").cancel(SECOND)
    assert await coming == [Cancellation("globex", SECOND)]
    await following.aclose()


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_an_empty_body_of_any_language_is_a_wish(rig: Rig, body: bytes) -> None:
    await rig.inject(f"cancels.acme.{FIRST}", body)
    following = rig.cancels().follow()
    assert await next_of(following) == [Cancellation("acme", FIRST)]
    await following.aclose()


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        (f"cancels.acme.{FIRST}", b'{"stream":"JOBS","seq":1}'),
        (f"cancels.acme.{FIRST}", b"\xff\xfe"),
        ("cancels.acme.short", b""),
        (f"cancels.ac*me.{FIRST}", b""),
    ],
)
async def test_what_is_no_wish_is_passed_over(rig: Rig, subject: str, body: bytes) -> None:
    """The broker's own replies, above all: a publisher can make them land here."""
    await rig.inject(subject.replace("*", "~"), body)
    await rig.desk("acme").cancel(SECOND)
    following = rig.cancels().follow()
    found = await next_of(following)
    if not found:  # a portion of its own
        found = await next_of(following)
    assert found == [Cancellation("acme", SECOND)]
    await following.aclose()


async def test_what_cannot_be_an_id_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidJob):
        await rig.desk("acme").cancel("results.globex.*")


async def test_outcomes_tell_how_jobs_have_ended(rig: Rig) -> None:
    await rig.queue.publish([Result(FIRST, "acme", Status.FAILED, Reason.ALL_FAILED, 5.0)])
    asked = [Cancellation("acme", FIRST), Cancellation("acme", SECOND), Cancellation("globex", FIRST)]
    assert await rig.cancels().outcomes(asked) == [Status.FAILED, None, None]


async def test_it_is_told_when_all_that_are_stored_have_been_taken(rig: Rig) -> None:
    told, first_told = list[float | None](), asyncio.Event()

    def tell(known_since: float | None) -> None:
        told.append(known_since)
        first_told.set()

    await rig.desk("acme").cancel(FIRST)
    following = rig.cancels().follow(tell)
    assert await next_of(following) == [Cancellation("acme", FIRST)]
    assert told == [], "it has not been taken before the next one is asked for"
    coming = asyncio.create_task(next_of(following))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await first_told.wait()
    assert told == [0.0], "so few are not all that the smallest stream takes"
    await rig.desk("acme").cancel(SECOND)
    assert await coming == [Cancellation("acme", SECOND)]
    await following.aclose()


async def test_stored_wishes_are_found_one_by_one(rig: Rig) -> None:
    await rig.desk("acme").cancel(FIRST)
    await rig.inject(f"cancels.acme.{SECOND}", b'{"stream":"JOBS","seq":1}')
    asked = [Cancellation("acme", FIRST), Cancellation("acme", SECOND), Cancellation("globex", FIRST)]
    assert await rig.cancels().stored(asked) == [True, False, False]
