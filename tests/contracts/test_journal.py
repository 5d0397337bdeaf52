"""What every desk takes as feedback, every journal gives back, whatever lies between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeVar

import pytest
from queue_rigs import Rig
from structlog.testing import capture_logs

from fleet.model.delivery import Stored
from fleet.model.errors import InvalidFeedback
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry

Value = TypeVar("Value")
NEW, REPEAT, REFUSED = Stored.NEW, Stored.REPEAT, Stored.REFUSED


def said(number: int = 0, verdict: Verdict = Verdict.GOOD, tenant: str = "acme") -> Feedback:
    text = "as it should be" if verdict is Verdict.EDITED else None
    return Feedback(f"job-{number:012d}", tenant, verdict, 0.0, text=text, id=f"feedback-{number:08d}")


COMPARED = replace(said(9, Verdict.BAD), source=Witness.SHADOW, target="llama-8b", propensity=0.02)


def booked(number: int) -> LedgerEntry:
    return LedgerEntry(f"job-{number:012d}", "acme", Lane.BULK, float(number), Reason.DEADLINE_PASSED, "chat", "paid")


async def all_of(values: AsyncIterator[Value]) -> list[Value]:
    return [value async for value in values]


async def test_feedback_is_read_as_it_was_said_and_oldest_first(rig: Rig) -> None:
    sent = [said(number, verdict) for number, verdict in enumerate(Verdict)]
    for each in sent:
        assert await rig.desk("acme").give_feedback(each)
    assert await rig.queue.publish([COMPARED]) == [NEW]

    read = await all_of(rig.journal().feedback())

    assert [replace(each, at=0.0) for each in read] == [*sent, COMPARED]
    assert all(each.at > 1_700_000_000 for each in read)
    assert [each.at for each in read] == sorted(each.at for each in read)


async def test_a_repeated_feedback_changes_nothing(rig: Rig) -> None:
    desk = rig.desk("acme")

    assert [await desk.give_feedback(said()) for _ in range(2)] == [True, False]
    assert await rig.queue.publish([COMPARED, COMPARED]) == [NEW, REPEAT]
    assert len(await all_of(rig.journal().feedback())) == 2


async def test_a_desk_speaks_for_its_own_tenant_whatever_the_feedback_says(rig: Rig) -> None:
    await rig.desk("globex").give_feedback(said(tenant="acme"))
    await rig.desk("acme").give_feedback(said())

    assert [each.tenant for each in await all_of(rig.journal().feedback())] == ["globex", "acme"]


async def test_what_no_reader_would_take_is_refused_at_the_desk_and_at_the_queue(rig: Rig) -> None:
    wrong = replace(said(), job_id="short")

    with pytest.raises(InvalidFeedback, match=r"^job_id: "):
        await rig.desk("acme").give_feedback(wrong)
    assert await rig.queue.publish([wrong, COMPARED]) == [REFUSED, NEW]


async def test_what_cannot_be_read_is_skipped_counted_and_logged(rig: Rig) -> None:
    await rig.desk("acme").give_feedback(said(1))
    await rig.inject("feedback.acme", b'{"stream": "JOBS", "seq": 17}')
    await rig.inject("feedback.mallory", b"\xff\x00")
    await rig.inject("feedback.mallory", b'{"id": "feedback-00000009", "job_id": "job-000000000001", "verdict": "meh"}')
    await rig.desk("acme").give_feedback(said(2))
    await rig.inject("ledger.acme", b'{"schema": 1, "attempt": []}')
    await rig.queue.publish([booked(1)])
    journal = rig.journal()

    with capture_logs() as lines:
        feedback, entries = await all_of(journal.feedback()), await all_of(journal.ledger())

    assert [each.job_id for each in feedback] == [said(1).job_id, said(2).job_id]
    assert entries == [booked(1)]
    assert journal.unreadable() == 4
    skipped = [line["skipped"] for line in lines if line["event"] == "journal_message_skipped"]
    assert skipped == [1, 2, 3, 4]


async def test_the_ledger_is_read_to_its_end_and_again_from_its_beginning(rig: Rig) -> None:
    entries = [booked(number) for number in range(2500)]
    await rig.queue.publish(entries)
    journal = rig.journal()

    assert [await all_of(journal.ledger()) for _ in range(2)] == [entries, entries]
    assert journal.unreadable() == 0


async def test_the_ledger_of_one_tenant_or_one_job_is_read_alone(rig: Rig) -> None:
    entries = [replace(booked(number), tenant=tenant) for number in range(3) for tenant in ("acme", "globex")]
    namesake = replace(booked(9), task=booked(1).job_id)
    await rig.queue.publish([*entries, namesake])
    journal = rig.journal()

    assert await all_of(journal.ledger("globex")) == entries[1::2]
    assert await all_of(journal.ledger(job_id=booked(1).job_id)) == entries[2:4]
    assert await all_of(journal.ledger("acme", booked(1).job_id)) == [entries[2]]
    assert await all_of(journal.ledger("nobody")) == []


async def test_what_is_more_than_the_broker_hands_out_at_once_is_read_whole(rig: Rig) -> None:
    long = [replace(said(number, Verdict.BAD), text="x" * 32_000) for number in range(400)]
    await rig.queue.publish(long)

    assert [each.id for each in await all_of(rig.journal().feedback())] == [each.id for each in long]


async def test_nothing_recorded_is_read_as_nothing(rig: Rig) -> None:
    journal = rig.journal()

    assert (await all_of(journal.feedback()), await all_of(journal.ledger())) == ([], [])
