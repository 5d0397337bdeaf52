"""A message that came back too often is not read by taking it, and how often it was begun stays with the broker."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from queue_rigs import Rig

from fleet.model.delivery import SEALED_BEYOND, AnyDelivery, JobsOf, Retry, WorkOf
from fleet.model.job import Job, Lane
from fleet.model.result import Malformed, Sealed
from fleet.model.submission import Submission

ID = "job-of-the-sealed-test"
JOBS = JobsOf(Lane.STANDARD, "acme")
REQUEST = {"messages": [{"role": "user", "content": "All is well."}]}


async def come_back(rig: Rig, source: JobsOf | WorkOf) -> AnyDelivery:
    """The message as it comes after the deliveries that are read at once."""
    for deliveries in range(1, SEALED_BEYOND + 1):
        [delivery] = await rig.queue.take(source, 1, 5.0)
        assert delivery.deliveries == deliveries
        assert not isinstance(delivery.body, Sealed)
        await rig.queue.settle([Retry(delivery)])
    [delivery] = await rig.queue.take(source, 1, 5.0)
    return delivery


async def test_a_job_that_came_back_is_read_when_it_is_asked_for(rig: Rig) -> None:
    await rig.desk("acme").submit([Submission(ID, "classify", REQUEST, lane=Lane.STANDARD)])
    sealed = await come_back(rig, JOBS)
    assert isinstance(sealed.body, Sealed)
    assert (sealed.body.job_id, sealed.body.tenant, sealed.body.lane) == (ID, "acme", Lane.STANDARD)
    opened = rig.queue.read(sealed)
    assert isinstance(opened.body, Job)
    assert (opened.body.id, opened.body.request, opened.deliveries) == (ID, REQUEST, SEALED_BEYOND + 1)


async def test_the_readings_that_began_are_known_to_every_dispatcher(rig: Rig) -> None:
    await rig.desk("acme").submit([Submission(ID, "classify", REQUEST, lane=Lane.STANDARD)])
    delivery = await come_back(rig, JOBS)
    assert list(await rig.queue.begun([delivery])) == [0]
    await rig.queue.note_begun([delivery], 2)
    assert list(await rig.rival.begun([delivery])) == [2]
    await rig.queue.settle([Retry(delivery)])
    [again] = await rig.rival.take(JOBS, 1, 5.0)
    assert list(await rig.rival.begun([again])) == [2]
    await rig.rival.note_begun([again], 0)
    assert list(await rig.queue.begun([again])) == [0]


NESTED = {"request": {"id": "an-id-of-something-else"}, "id": "the-id-that-was-meant"}


@pytest.mark.parametrize(
    ("body", "headers", "name"),
    [
        (json.dumps({"schema": 1, "id": ID}), None, ID),
        (json.dumps({"task": "a", "tier": None, "id": ID}), {"Nats-Msg-Id": "acme.the-id-in-the-header"}, ID),
        (json.dumps(NESTED), {"Nats-Msg-Id": "acme.the-id-in-the-header.0123"}, "the-id-in-the-header"),
        ("no json", {"Nats-Msg-Id": "beta.the-id-in-the-header"}, None),
        (json.dumps(NESTED), None, None),
    ],
)
@pytest.mark.parametrize(
    ("subject", "source"),
    [("jobs.standard.acme", JOBS), ("work.llama-8b.standard.acme", WorkOf("llama-8b", Lane.STANDARD))],
)
async def test_a_sealed_message_is_named_without_being_read(
    rig: Rig, body: str, headers: dict[str, str] | None, name: str | None, subject: str, source: JobsOf | WorkOf
) -> None:
    await rig.inject(subject, body.encode(), headers)
    sealed = (await come_back(rig, source)).body
    assert isinstance(sealed, Sealed)
    assert sealed.tenant == "acme"
    assert sealed.job_id.startswith("invalid-") if name is None else sealed.job_id == name


async def test_a_message_whose_reading_meets_a_bug_comes_sealed_and_those_beside_it_open(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.inject("jobs.standard.acme", b"[1]")
    await rig.inject("jobs.standard.acme", b"[2]")
    breaks_on(b"[1]", monkeypatch)
    first, second = await rig.queue.take(JOBS, 2, 5.0)
    assert isinstance(first.body, Sealed)
    assert isinstance(second.body, Malformed)
    assert not isinstance(second.body, Sealed)


def breaks_on(marked: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from queues.jetstream import queue as jetstream
    from queues.memory import queue as memory

    for module in (jetstream, memory):
        monkeypatch.setattr(module, "decode", _breaking(module.decode, marked))


def _breaking(decode: Callable[..., object], marked: bytes) -> Callable[..., object]:
    def broken(source: object, body: bytes, *rest: object) -> object:
        if body == marked:
            raise SystemExit(3)
        return decode(source, body, *rest)

    return broken
