"""What every feed of ledger lines promises to the one process that writes them down."""

from __future__ import annotations

from queue_rigs import Rig

from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, LedgerLine
from fleet.ports import LedgerFeed
from queues.wire.ledger import decode_ledger

AT_ONCE = 0.01
"""Seconds to wait where nothing is expected to come."""


def booked(number: int) -> LedgerEntry:
    return LedgerEntry(f"job-{number:012d}", "acme", Lane.BULK, float(number), Reason.DEADLINE_PASSED, "chat", "paid")


async def taken(feed: LedgerFeed, count: int) -> list[LedgerLine]:
    """The next lines, which may come in several portions."""
    lines: list[LedgerLine] = []
    while len(lines) < count:
        lines += await feed.take(count - len(lines), 1.0)
    return lines


async def test_every_line_comes_once_and_in_order(rig: Rig) -> None:
    entries = [booked(number) for number in range(2500)]
    await rig.queue.publish(entries)
    feed = rig.ledger_feed()
    await feed.begin(0)

    lines = await taken(feed, 2500)

    assert await feed.take(10, AT_ONCE) == []
    assert [decode_ledger(line.data) for line in lines] == entries
    assert [line.sequence for line in lines] == sorted({line.sequence for line in lines})
    assert {line.tenant for line in lines} == {"acme"}
    assert lines[7].message_id == "acme.job-000000000007.0"
    assert all(line.stored_at > 1_700_000_000 for line in lines)


async def test_a_feed_starts_behind_the_line_it_is_told(rig: Rig) -> None:
    await rig.queue.publish([booked(number) for number in range(10)])
    feed = rig.ledger_feed()
    await feed.begin(0)
    first = await taken(feed, 4)
    await taken(feed, 4)  # and never written down, as by a process that was killed

    await feed.begin(first[-1].sequence)

    assert [line.message_id for line in await taken(feed, 2)] == ["acme.job-000000000004.0", "acme.job-000000000005.0"]


async def test_another_feed_starts_where_it_is_told_whatever_was_acknowledged(rig: Rig) -> None:
    await rig.queue.publish([booked(number) for number in range(4)])
    feed = rig.ledger_feed()
    await feed.begin(0)
    await feed.written((await taken(feed, 4))[-1].sequence)

    another = rig.ledger_feed()
    await another.begin(0)

    assert len(await taken(another, 4)) == 4


async def test_the_stream_says_how_many_lines_are_to_be_written_down(rig: Rig) -> None:
    feed = rig.ledger_feed()
    await rig.queue.publish([booked(number) for number in range(10)])
    stream = await feed.begin(0)
    assert (stream.waiting, stream.last_sequence - stream.first_sequence) == (10, 9)

    lines = await taken(feed, 4)
    assert (await feed.stream()).waiting == 10

    await feed.written(lines[-1].sequence)
    await taken(feed, 1)  # the broker handles what comes on one connection in order
    assert (await feed.stream()).waiting == 6


async def test_a_line_that_comes_later_is_waited_for(rig: Rig) -> None:
    feed = rig.ledger_feed()
    await feed.begin(0)
    assert await feed.take(10, AT_ONCE) == []

    await rig.queue.publish([booked(1)])

    assert [decode_ledger(line.data) for line in await taken(feed, 1)] == [booked(1)]


async def test_bytes_of_a_stranger_come_as_they_are(rig: Rig) -> None:
    await rig.inject("ledger.mallory", b"\xff\x00")
    feed = rig.ledger_feed()
    await feed.begin(0)

    [line] = await taken(feed, 1)

    assert (line.tenant, line.message_id, line.data) == ("mallory", None, b"\xff\x00")


async def test_a_feed_starts_with_the_lines_of_a_time(rig: Rig) -> None:
    await rig.queue.publish([booked(number) for number in range(5)])
    feed = rig.ledger_feed()
    await feed.begin(0)
    lines = await taken(feed, 5)

    await feed.begin(0, since=lines[0].stored_at - 60.0)
    assert (await taken(feed, 5))[0].sequence == lines[0].sequence

    await feed.begin(4, since=lines[-1].stored_at + 60.0)
    assert await feed.take(10, AT_ONCE) == []
