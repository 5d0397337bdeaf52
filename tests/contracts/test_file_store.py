"""What every store of files does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from queue_rigs import Rig

from fleet.model.batch import Batch, BatchStatus, Purpose, Segment, StoredFile, errors_id, output_id
from fleet.model.errors import QueueUnavailable
from fleet.ports import FileStore
from queues.wire.batches.records import encode_file
from queues.wire.subjects import file_chunk_subject

LARGE = bytes(range(256)) * 4096  # 8 chunks
ABSENT = f"file-{'0' * 24}"


async def read(store: FileStore, file_id: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read(file_id, start, end)])


async def test_a_new_file_is_empty_and_open_and_there_for_every_holder_of_the_store(rig: Rig) -> None:
    file = await rig.files("acme").create("nudges.jsonl", expires_at=time.time() + 3600)

    assert await rig.files("acme").info(file.id) == file
    assert (file.tenant, file.filename, file.purpose) == ("acme", "nudges.jsonl", Purpose.BATCH)
    assert (file.bytes, file.rows, file.closed) == (0, 0, False)
    assert await read(rig.files("acme"), file.id) == b""


async def test_what_is_appended_is_read_in_its_order(rig: Rig) -> None:
    store = rig.files("acme")
    file = await store.create("f")

    for piece, rows in ((b"one\n", 1), (LARGE, 0), (b"two\nthree\n", 2)):
        grown = await store.append(file.id, piece, rows)

    assert grown is not None
    assert (grown.bytes, grown.rows) == (len(LARGE) + 14, 3)
    assert await store.info(file.id) == grown
    assert await read(store, file.id) == b"one\n" + LARGE + b"two\nthree\n"


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 0), (0, 1), (3, 5), (4, 4), (131_071, 131_074), (131_076, 262_148), (500_000, None), (1_048_579, None)],
)
async def test_any_range_can_be_read(rig: Rig, start: int, end: int | None) -> None:
    store = rig.files("acme")
    file = await store.create("f")
    await store.append(file.id, b"one\n")
    await store.append(file.id, LARGE)

    assert await read(store, file.id, start, end) == (b"one\n" + LARGE)[start:end]


async def test_a_range_beyond_the_end_has_what_there_is(rig: Rig) -> None:
    store = rig.files("acme")
    file = await store.create("f")
    await store.append(file.id, b"0123456789")

    assert await read(store, file.id, 7, 99) == b"789"
    assert await read(store, file.id, 10, 99) == b""


async def test_a_closed_file_grows_no_more(rig: Rig) -> None:
    store = rig.files("acme")
    file = await store.create("f")
    await store.append(file.id, b"all")

    closed = await store.close(file.id)

    assert closed is not None and closed.closed
    assert await store.append(file.id, b"more") is None
    assert await read(store, file.id) == b"all"


async def test_a_segment_is_part_of_no_file_until_an_entry_names_it(rig: Rig) -> None:
    store = rig.files("acme")
    file = await store.create("f")

    first, second = await store.write(file.id, b"one\n", 1), await store.write(file.id, b"one\n", 1)

    assert (first.bytes, first.rows, first.chunks) == (4, 1, 1)
    assert first.name != second.name
    assert await store.info(file.id) == file


async def test_files_are_listed_newest_first(rig: Rig) -> None:
    store = rig.files("acme")
    made = [(await store.create(str(number))).id for number in range(3)]

    assert [file.id for file in await store.list()] == made[::-1]


async def test_a_deleted_file_is_not_there(rig: Rig) -> None:
    store = rig.files("acme")
    file, other = await store.create("f"), await store.create("g")
    await store.append(file.id, b"all")

    assert await store.delete(file.id) is True

    assert await store.delete(file.id) is False
    assert await store.info(file.id) is None
    assert await store.append(file.id, b"more") is None
    assert await read(store, file.id) == b""
    assert [each.id for each in await store.list()] == [other.id]


async def test_the_content_of_a_deleted_file_goes_with_it_and_who_reads_it_fails(rig: Rig) -> None:
    store = rig.files("acme")
    file = await store.create("f")
    for _ in range(5):  # more than is read at once
        grown = await store.append(file.id, LARGE)
    assert grown is not None
    reading = store.read(file.id)
    await anext(reading)

    await store.delete(file.id)

    with pytest.raises(QueueUnavailable, match="cannot be read"):
        async for _ in reading:
            pass
    subjects = [
        file_chunk_subject("acme", file.id, segment.name, number)
        for segment in grown.segments
        for number in range(segment.chunks)
    ]
    assert await store._shelf.chunks(subjects) == [b""] * 40


async def test_the_first_file_that_claims_an_upload_stands_for_it_as_long_as_it_is_there(rig: Rig) -> None:
    store, beta = rig.files("acme"), rig.files("globex")
    first, second, other = await store.create("f"), await store.create("f"), await beta.create("f")

    assert await store.claim("upload", first, "one", 0.0) == (first, "one")
    assert await store.claim("upload", second, "two", 0.0) == (first, "one")
    assert await beta.claim("upload", other, "two", 0.0) == (other, "two"), "names are a tenant's own"
    await store.delete(first.id)
    assert await store.claim("upload", second, "two", 0.0) == (second, "two")
    third = await store.create("f")
    assert await store.claim("upload", third, "two", second.created_at + 1) == (third, "two"), "too long ago"
    assert await store.count() == 2


async def test_of_two_that_claim_an_upload_at_once_one_stands_for_it(rig: Rig) -> None:
    store = rig.files("acme")
    files = [await store.create("f") for _ in range(5)]

    standing = await asyncio.gather(*(store.claim("upload", file, "same", 0.0) for file in files))

    assert len({file.id for file, _ in standing}) == 1


async def test_a_file_that_has_expired_is_not_there(rig: Rig) -> None:
    store = rig.files("acme")
    file = await store.create("f", expires_at=time.time() - 1)

    assert await store.info(file.id) is None
    assert await store.list() == []


@pytest.mark.parametrize("file_id", [ABSENT, "file-1", "*", "a.b", "", f"file-{'0' * 24}\n"])
async def test_an_id_that_no_file_has_is_no_error(rig: Rig, file_id: str) -> None:
    store = rig.files("acme")

    assert await store.info(file_id) is None
    assert await store.close(file_id) is None
    assert await store.delete(file_id) is False
    assert await read(store, file_id) == b""


async def test_another_tenants_file_is_not_there(rig: Rig) -> None:
    file = await rig.files("acme").create("f")
    await rig.files("acme").append(file.id, b"secret")
    globex = rig.files("globex")

    assert await globex.info(file.id) is None
    assert await globex.append(file.id, b"!") is None
    assert await globex.delete(file.id) is False
    assert await globex.list() == []
    assert await read(globex, file.id) == b""
    assert await read(rig.files("acme"), file.id) == b"secret"


async def test_what_two_append_at_once_is_all_there(rig: Rig) -> None:
    one, two = rig.files("acme"), rig.files("acme")
    file = await one.create("f")

    await asyncio.gather(*(store.append(file.id, b"%d\n" % n, 1) for n in range(10) for store in (one, two)))

    content = await read(one, file.id)
    assert sorted(content.split()) == sorted([b"%d" % n for n in range(10)] * 2)


async def test_a_file_that_a_batch_writes_is_what_its_entry_says(rig: Rig) -> None:
    store, batches = rig.files("acme"), rig.batches("acme")
    batch = Batch(f"batch_{'1' * 24}", "acme", "/v1/chat/completions", ABSENT, 86_400.0, time.time())
    assert await batches.create(batch)
    parts = {}
    for file_id, content in ((output_id(batch.id), b"answer\n"), (errors_id(batch.id), b"error\n")):
        await store.create("f", Purpose.BATCH_OUTPUT, file_id=file_id, batch_id=batch.id)
        parts[file_id] = await store.write(file_id, content, 1)

    before = await read(store, output_id(batch.id))
    grown = replace(batch, output=(parts[output_id(batch.id)],), errors=(parts[errors_id(batch.id)],))
    assert await batches.update(grown, 0) is None
    found = await batches.get(batch.id)
    assert found is not None
    revision = await batches.update(grown, found[1])
    assert revision is not None

    assert before == b""
    assert await read(store, output_id(batch.id)) == b"answer\n"
    assert await read(store, errors_id(batch.id)) == b"error\n"
    assert [file.closed for file in await store.list()] == [False, False]
    assert await store.append(output_id(batch.id), b"forged") is None
    await batches.update(replace(grown, status=BatchStatus.COMPLETED), revision)
    assert [file.closed for file in await store.list()] == [True, True]


async def test_a_batchs_file_that_is_made_again_stays_as_it_is(rig: Rig) -> None:
    store = rig.files("acme")
    file_id = output_id(f"batch_{'1' * 24}")
    first = await store.create("f", Purpose.BATCH_OUTPUT, file_id=file_id, batch_id=f"batch_{'1' * 24}")

    await store.create("other", Purpose.BATCH_OUTPUT, file_id=file_id, batch_id=f"batch_{'1' * 24}")

    assert await store.list() == [first]


async def test_an_entry_that_is_no_file_is_not_there(rig: Rig) -> None:
    """A tenant with a login of its own can write anything under its own keys."""
    forged = StoredFile(ABSENT, "globex", "f", Purpose.BATCH, 1.0, segments=(Segment("a" * 16, 1, 1, 1),))
    for body in (b"{}", b"[", encode_file(forged)):
        await rig.write_entry(f"acme.file.{ABSENT}", body)
        assert await rig.files("acme").info(ABSENT) is None


async def test_a_file_can_be_given_its_expiry_when_it_is_closed(rig: Rig) -> None:
    store, until = rig.files("acme"), time.time() + 3600
    plain, expiring = await store.create("f", expires_at=until + 1), await store.create("f", expires_at=until + 1)

    await store.close(plain.id)
    closed = await store.close(expiring.id, until)

    assert closed is not None and (closed.expires_at, closed.closed) == (until, True)
    assert await store.info(expiring.id) == closed
    assert [file.expires_at for file in await store.list() if file.id == plain.id] == [until + 1]
