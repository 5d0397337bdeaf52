"""`/v1/files`, as unmodified clients use it and as nobody should."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import httpx
import openai
import pytest
from patience import eventually
from two_tenants import TwoTenants

from fleet.model.batch import Purpose
from fleet.model.errors import QueueRefused, QueueUnavailable
from policies.rules.sections import Quota, QuotaRules

ROW = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}
LINE = json.dumps(ROW).encode() + b"\n"
BOUNDARY = "b0undary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
NO_HEADERS: Mapping[str, str] = {}
NOBODYS = "file-0123456789abcdef01234567"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = f'name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {named}\r\n\r\n".encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


async def send(both: TwoTenants, body: bytes) -> httpx.Response:
    return await both.acme.http.post("/v1/files", content=body, headers=FORM)


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_openais_client_uploads_reads_lists_and_deletes_a_file(both: TwoTenants) -> None:
    client = both.acme.openai
    content = LINE * 3

    made = await client.files.create(file=("rows.jsonl", content), purpose="batch")
    found = await client.files.retrieve(made.id)
    read = await client.files.content(made.id)
    listed = (await client.files.list()).data
    deleted = await client.files.delete(made.id)

    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", len(content), "rows.jsonl", "batch")
    assert made.expires_at is not None and made.expires_at - made.created_at == 30 * 86_400
    assert found == made and [each.id for each in listed] == [made.id]
    assert read.read() == content
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(made.id)


async def test_a_file_expires_when_its_form_says(both: TwoTenants) -> None:
    made = await both.acme.openai.files.create(
        file=("rows.jsonl", LINE), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at is not None and made.expires_at - made.created_at == 3600


async def test_the_purpose_may_come_after_the_file_as_node_sends_it(both: TwoTenants) -> None:
    expiry = part("expires_after[anchor]", b"created_at") + part("expires_after[seconds]", b"7200")
    made = (await send(both, part("file", LINE, "rows.jsonl") + part("purpose", b"batch") + expiry + END)).json()

    assert (made["bytes"], made["filename"]) == (len(LINE), "rows.jsonl")
    assert made["expires_at"] - made["created_at"] == 7200


async def test_a_large_file_is_stored_in_pieces_while_it_comes_and_read_back_the_same(both: TwoTenants) -> None:
    pieces = [LINE * 5_000] * 30  # 14 MB

    async def body() -> AsyncIterator[bytes]:
        yield part("purpose", b"batch") + part("file", b"", "rows.jsonl")[:-2]
        for piece in pieces:
            yield piece
        yield b"\r\n" + END

    made = (await both.acme.http.post("/v1/files", content=body(), headers=FORM)).json()

    read = await both.acme.http.get(f"/v1/files/{made['id']}/content")
    stored = await both.tenants.files("acme").info(made["id"])
    assert stored is not None and len(stored.segments) > 2 and stored.rows == 150_000
    assert hashlib.sha256(read.content).digest() == hashlib.sha256(b"".join(pieces)).digest()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (part("purpose", b"batch") + END, (400, "empty_file")),
        (part("file", b"", "rows.jsonl") + part("purpose", b"batch") + END, (400, "empty_file")),
        (part("file", LINE, "rows.jsonl") + END, (400, "invalid_value")),
        (part("file", LINE, "rows.jsonl") + part("purpose", b"fine-tune") + END, (400, "invalid_value")),
        (part("purpose", b"fine-tune") + part("file", LINE, "rows.jsonl") + END, (400, "invalid_value")),
        (part("purpose", b"batch_output") + part("file", LINE, "rows.jsonl") + END, (400, "invalid_value")),
        (part("file", LINE + b"[]", "rows.jsonl") + part("purpose", b"batch") + END, (400, "invalid_jsonl")),
        (part("file", LINE, "rows.jsonl") + part("purpose", b"batch"), (400, "invalid_form")),
        (
            part("file", LINE, "f") + part("purpose", b"batch") + part("expires_after[anchor]", b"created_at") + END,
            (400, "invalid_value"),
        ),
        (
            part("file", LINE, "f") + part("purpose", b"batch") + part("expires_after[seconds]", b"7200") + END,
            (400, "invalid_value"),
        ),
        (
            part("file", LINE, "f")
            + part("purpose", b"batch")
            + part("expires_after[anchor]", b"created_at")
            + part("expires_after[seconds]", b"3599")
            + END,
            (400, "invalid_value"),
        ),
    ],
    ids=[
        "no file",
        "an empty file",
        "no purpose",
        "another purpose after the file",
        "another purpose before it",
        "what only batches write",
        "a line that is no object",
        "cut short",
        "an anchor alone",
        "seconds alone",
        "too few seconds",
    ],
)
async def test_an_upload_that_is_refused_leaves_nothing(
    both: TwoTenants, body: bytes, expected: tuple[int, str]
) -> None:
    refused = await send(both, body)

    assert code_of(refused) == expected
    assert await both.tenants.files("acme").list() == []


async def test_a_file_beyond_the_limit_is_refused_while_it_comes(both: TwoTenants) -> None:
    both.doors.max_file_bytes = 100_000
    refused = await send(both, part("purpose", b"batch") + part("file", LINE * 200_000, "rows.jsonl") + END)

    assert code_of(refused) == (413, "file_too_large")
    assert await both.tenants.files("acme").list() == []


async def test_an_upload_whose_caller_hangs_up_leaves_nothing(both: TwoTenants) -> None:
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield part("purpose", b"batch") + part("file", LINE * 100_000, "rows.jsonl")[:-2]
        begun.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(both.acme.http.post("/v1/files", content=body(), headers=FORM))
    await begun.wait()
    await eventually(lambda: both.tenants.files("acme").list())
    upload.cancel()

    await eventually(lambda: nothing_of_acme(both))


async def nothing_of_acme(both: TwoTenants) -> bool:
    return await both.tenants.files("acme").list() == []


async def test_a_key_that_is_revoked_in_the_middle_of_an_upload_ends_it(both: TwoTenants) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield part("purpose", b"batch") + part("file", LINE * 100_000, "rows.jsonl")[:-2]
        await both.revoke(both.acme)
        yield LINE * 100_000 + b"\r\n" + END

    refused = await both.acme.http.post("/v1/files", content=body(), headers=FORM)

    assert code_of(refused) == (401, "invalid_api_key")
    assert await both.tenants.files("acme").list() == []


async def test_a_key_that_is_revoked_in_the_middle_of_a_download_ends_it(
    both: TwoTenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queues.batches.files.CHUNKS_AT_ONCE", 1)
    lines = LINE * (300_000 // len(LINE))
    stored = await send(both, part("purpose", b"batch") + part("file", lines, "rows.jsonl") + END)
    chunks, asked = both.tenants.shelf.chunks, list[str]()

    async def revoked_at_the_second(subjects: Sequence[str]) -> list[bytes | None]:
        asked.extend(subjects)
        if len(asked) == 2:
            await both.revoke(both.acme)
        return await chunks(subjects)

    monkeypatch.setattr(both.tenants.shelf, "chunks", revoked_at_the_second)
    with pytest.raises(httpx.RemoteProtocolError):
        await both.acme.http.get(f"/v1/files/{stored.json()['id']}/content")
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [(QueueUnavailable("away"), (503, "queue_unavailable")), (QueueRefused("full"), (507, "insufficient_storage"))],
    ids=["the broker is away", "the store is full"],
)
async def test_an_upload_that_cannot_be_stored_says_whether_to_try_again(
    both: TwoTenants, error: Exception, expected: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(both.tenants.shelf, "store", refuse)
    refused = await send(both, part("purpose", b"batch") + part("file", LINE, "rows.jsonl") + END)

    assert code_of(refused) == expected
    assert refused.headers.get("x-should-retry", "true") == ("false" if expected[0] == 507 else "true")
    assert await both.tenants.files("acme").list() == []


async def test_the_list_is_turned_page_by_page_in_either_order(both: TwoTenants) -> None:
    client = both.acme.openai
    made = [(await client.files.create(file=(f"{n}.jsonl", LINE), purpose="batch")).id for n in range(5)]

    newest_first = [each.id async for each in client.files.list(limit=2)]
    oldest_first = [each.id async for each in client.files.list(limit=2, order="asc")]
    page = (await both.acme.http.get("/v1/files?limit=2")).json()

    assert newest_first == made[::-1] and oldest_first == made
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", made[4], made[3], True)
    assert [each.id async for each in client.files.list(purpose="batch_output")] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up", "purpose=vision"])
async def test_a_list_of_impossible_parameters_is_refused(both: TwoTenants, query: str) -> None:
    assert code_of(await both.acme.http.get(f"/v1/files?{query}")) == (400, "invalid_value")


async def test_a_list_that_goes_on_after_what_is_not_there_is_refused(both: TwoTenants) -> None:
    assert (await both.acme.http.get(f"/v1/files?after={NOBODYS}")).status_code == 404


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-1000", 206, b"56789", "bytes 5-9/10"),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=10-", 416, None, "bytes */10"),
    ],
)
async def test_a_range_of_a_file_is_sent_as_http_says(
    both: TwoTenants, asked: str | None, status: int, content: bytes | None, said: str | None
) -> None:
    files = both.tenants.files("acme")
    stored = await files.create("f", Purpose.BATCH)
    await files.append(stored.id, b"01234", 0)
    await files.append(stored.id, b"56789", 0)
    await files.close(stored.id)

    answer = await both.acme.http.get(
        f"/v1/files/{stored.id}/content", headers={} if asked is None else {"range": asked}
    )

    assert (answer.status_code, answer.headers.get("content-range")) == (status, said)
    if content is not None:
        assert answer.content == content and answer.headers["accept-ranges"] == "bytes"


async def test_a_file_that_still_grows_is_sent_as_far_as_it_is(both: TwoTenants) -> None:
    files = both.tenants.files("acme")
    stored = await files.create("f", Purpose.BATCH_OUTPUT)
    await files.append(stored.id, b"first", 1)

    before = await both.acme.http.get(f"/v1/files/{stored.id}/content")
    await files.append(stored.id, b" second", 1)
    rest = await both.acme.http.get(f"/v1/files/{stored.id}/content", headers={"range": "bytes=5-"})

    assert before.content == b"first"
    assert (rest.content, rest.headers["content-range"]) == (b" second", "bytes 5-11/*")


@pytest.mark.parametrize(
    "file_id", [NOBODYS, "file-abc", "batch_0123456789abcdef01234567", "..", "%2e%2e", "file-*", "x" * 3000]
)
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("DELETE", ""), ("GET", "/content")])
async def test_a_file_that_is_not_there_is_404_in_openais_shape(
    both: TwoTenants, method: str, rest: str, file_id: str
) -> None:
    answer = await both.acme.http.request(method, f"/v1/files/{file_id}{rest}")
    assert answer.status_code == 404 and set(answer.json()["error"]) == {"message", "type", "param", "code"}


AGAIN = {"x-stainless-retry-count": "1"}
KEY = {"idempotency-key": "nightly-2030-01-31"}


async def upload(both: TwoTenants, content: bytes, headers: Mapping[str, str] = NO_HEADERS) -> httpx.Response:
    body = part("purpose", b"batch") + part("file", content, "rows.jsonl") + END
    return await both.acme.http.post("/v1/files", content=body, headers={**FORM, **headers})


async def test_an_upload_that_an_sdk_sends_again_is_the_same_file(both: TwoTenants) -> None:
    first = await upload(both, LINE)
    again = await upload(both, LINE, AGAIN)
    other = await upload(both, LINE * 2, AGAIN)
    meant = await upload(both, LINE)

    assert again.json() == first.json() and again.headers["idempotent-replayed"] == "true"
    assert len({each.json()["id"] for each in (first, other, meant)}) == 3, "two equal files may both be meant"
    assert len((await both.acme.openai.files.list()).data) == 3


async def test_an_upload_with_the_same_key_is_the_same_file_and_another_content_is_refused(both: TwoTenants) -> None:
    first, again = await upload(both, LINE, KEY), await upload(both, LINE, KEY)
    refused = await upload(both, LINE * 2, KEY)

    assert again.json() == first.json() and again.headers["idempotent-replayed"] == "true"
    assert code_of(refused) == (422, "idempotency_key_reused")
    assert [each.id for each in (await both.acme.openai.files.list()).data] == [first.json()["id"]]


async def test_a_tenant_has_as_many_files_as_its_quota_says(both: TwoTenants) -> None:
    both.doors.rules = replace(both.doors.rules, quotas=QuotaRules(tenants={"acme": Quota(files=2)}))
    first = await upload(both, LINE)
    await upload(both, LINE)

    refused = await upload(both, LINE)

    assert code_of(refused) == (400, "too_many_files")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["error"]["message"].startswith("files: a tenant may have 2, and has 2.")
    await both.acme.openai.files.delete(first.json()["id"])
    assert (await upload(both, LINE)).status_code == 200
