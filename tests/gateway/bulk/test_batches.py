"""`/v1/batches`, as unmodified clients use it and as nobody should."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from two_tenants import TwoTenants

from fleet.model.attempt import Usage
from fleet.model.batch import Batch, BatchStatus, LineProblem, Purpose, Segment

ROW = {"custom_id": "r1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}
LINE = json.dumps(ROW).encode() + b"\n"
NOBODYS_FILE = "file-0123456789abcdef01234567"
NOBODYS_BATCH = "batch_0123456789abcdef01234567"
CHAT = "/v1/chat/completions"


@pytest.fixture
async def file_id(both: TwoTenants) -> str:
    return (await both.acme.openai.files.create(file=("rows.jsonl", LINE), purpose="batch")).id


async def create(both: TwoTenants, file_id: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}
    return await both.acme.http.post("/v1/batches", json=body, headers=headers)


async def change(both: TwoTenants, batch_id: str, **changes: Any) -> None:
    """What a runner does."""
    found = await both.tenants.batches("acme").get(batch_id)
    assert found is not None
    assert await both.tenants.batches("acme").update(replace(found[0], **changes), found[1]) is not None


async def stored(both: TwoTenants) -> list[Batch]:
    return list(await both.tenants.batches("acme").list())


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_openais_client_creates_polls_and_downloads(both: TwoTenants, file_id: str) -> None:
    client = both.acme.openai
    made = await client.batches.create(
        input_file_id=file_id, endpoint=CHAT, completion_window="24h", metadata={"night": "4"}
    )
    files = both.tenants.files("acme")
    segment = await files.write("file-0", b'{"custom_id": "r1"}\n', 1)
    await change(both, made.id, status=BatchStatus.IN_PROGRESS, in_progress_at=5.0, total=2)
    running = await client.batches.retrieve(made.id)
    await change(
        both,
        made.id,
        status=BatchStatus.COMPLETED,
        completed_at=9.5,
        completed=2,
        usage=Usage(10, 5, cached_input_tokens=4, reasoning_tokens=1),
    )
    ended = await client.batches.retrieve(made.id)

    assert (made.object, made.status, made.endpoint, made.completion_window) == ("batch", "validating", CHAT, "24h")
    assert made.input_file_id == file_id and made.metadata == {"night": "4"} and segment.rows == 1
    assert made.expires_at == made.created_at + 86_400 and made.output_file_id is None and made.errors is None
    assert (running.status, running.in_progress_at) == ("in_progress", 5)
    assert (ended.status, ended.completed_at) == ("completed", 9)
    assert ended.request_counts is not None and ended.request_counts.model_dump() == {
        "total": 2,
        "completed": 2,
        "failed": 0,
    }
    assert ended.usage is not None and (ended.usage.total_tokens, ended.usage.input_tokens_details.cached_tokens) == (
        15,
        4,
    )


async def test_what_is_wrong_with_lines_is_told_by_line_and_byte(both: TwoTenants, file_id: str) -> None:
    made = (await create(both, file_id)).json()
    problems = (LineProblem(3, 170, "r3", "body.messages", "is required"), LineProblem(0, 0, None, "file", "is empty"))
    await change(both, made["id"], status=BatchStatus.FAILED, failed_at=3.0, problems=problems, problem_count=2)

    failed = await both.acme.openai.batches.retrieve(made["id"])

    assert failed.status == "failed" and failed.errors is not None and failed.errors.data is not None
    assert [each.model_dump() for each in failed.errors.data] == [
        {
            "code": "invalid_request",
            "line": 3,
            "message": "body.messages: is required (line 3, byte 170)",
            "param": "body.messages",
        },
        {"code": "invalid_request", "line": None, "message": "file: is empty", "param": "file"},
    ]


async def test_what_a_maker_says_of_a_batch_is_what_its_runner_reads(both: TwoTenants, file_id: str) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    said = {"keep_going": True, "max_cost_usd": 0.25, "output_expires_after": expiry, "completion_window": "2d"}
    made = (await create(both, file_id, **said)).json()

    [batch] = await stored(both)
    assert (batch.keep_going, batch.max_cost_nano_usd, batch.output_expires_seconds) == (True, 250_000_000, 3600.0)
    assert batch.completion_window_seconds == 2 * 86_400 and made["completion_window"] == "48h"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"completion_window": "1s"}, "completion_window"),
        ({"completion_window": "8d"}, "completion_window"),
        ({"completion_window": 24}, "completion_window"),
        ({"metadata": {"n" * 65: "x"}}, None),
        ({"metadata": {"name": "x" * 513}}, "metadata.name"),
        ({"metadata": {"name": 1}}, "metadata.name"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"max_cost_usd": 0}, "max_cost_usd"),
        ({"unknown": 1}, "unknown"),
        ({"input_file_id": 5}, "input_file_id"),
    ],
)
async def test_a_batch_that_breaks_a_rule_is_refused_by_name(
    both: TwoTenants, file_id: str, changes: dict[str, Any], param: str | None
) -> None:
    refused = await create(both, **{"file_id": file_id, **changes})

    assert code_of(refused) == (400, "invalid_value")
    assert param is None or refused.json()["error"]["param"] == param
    assert await stored(both) == []


@pytest.mark.parametrize("named", [NOBODYS_FILE, "file-abc", "x", "file-*"])
async def test_a_batch_of_a_file_that_is_not_there_is_refused(both: TwoTenants, named: str) -> None:
    assert code_of(await create(both, named)) == (404, "not_found")


async def test_a_batch_of_what_is_no_finished_upload_is_refused(both: TwoTenants) -> None:
    files = both.tenants.files("acme")
    growing = await files.create("f", Purpose.BATCH)
    output = await files.create("f", Purpose.BATCH_OUTPUT)
    await files.close(output.id)

    for file in (growing, output):
        assert code_of(await create(both, file.id)) == (400, "invalid_value")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": NaN}', b"\xff", b"[" * 5000])
async def test_a_body_that_is_no_json_object_is_refused(both: TwoTenants, body: bytes) -> None:
    refused = await both.acme.http.post("/v1/batches", content=body, headers={"content-type": "application/json"})
    assert code_of(refused) == (400, "invalid_json")


async def test_the_same_request_within_ten_minutes_is_the_same_batch(both: TwoTenants, file_id: str) -> None:
    first, again, other = [await create(both, file_id, metadata={"n": n}) for n in ("1", "1", "2")]

    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert ("idempotent-replayed" in first.headers, again.headers.get("idempotent-replayed")) == (False, "true")
    assert len(await stored(both)) == 2


async def test_equal_requests_at_the_same_moment_make_one_batch(both: TwoTenants, file_id: str) -> None:
    answers = await asyncio.gather(*(create(both, file_id) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == len(await stored(both)) == 1


async def test_the_same_request_later_on_is_another_batch_unless_an_sdk_repeats_it(
    both: TwoTenants, file_id: str
) -> None:
    now = both.doors.now()
    both.doors.now = lambda: now
    first = (await create(both, file_id)).json()["id"]
    both.doors.now = lambda: now + 1_300

    repeated = (await create(both, file_id, {"x-stainless-retry-count": "1"})).json()["id"]
    meant = (await create(both, file_id)).json()["id"]

    assert repeated == first != meant


async def test_whoever_has_cancelled_a_batch_can_make_the_same_again_at_once(both: TwoTenants, file_id: str) -> None:
    first = (await create(both, file_id)).json()["id"]
    await both.acme.http.post(f"/v1/batches/{first}/cancel")

    second = (await create(both, file_id)).json()
    repeated = (await create(both, file_id, {"x-stainless-retry-count": "1"})).json()["id"]

    assert second["id"] != first and second["status"] == "validating"
    assert repeated == second["id"]


async def test_a_key_makes_one_batch_whenever_it_is_sent(both: TwoTenants, file_id: str) -> None:
    now, key = both.doors.now(), {"idempotency-key": "night-4"}
    both.doors.now = lambda: now
    first = (await create(both, file_id, key)).json()["id"]
    both.doors.now = lambda: now + 50_000

    assert (await create(both, file_id, key)).json()["id"] == first
    assert (await create(both, file_id, {"idempotency-key": "night-5"})).json()["id"] != first


async def test_a_key_with_another_body_is_refused(both: TwoTenants, file_id: str) -> None:
    key = {"idempotency-key": "night-4"}
    await create(both, file_id, key)

    assert code_of(await create(both, file_id, key, keep_going=True)) == (422, "idempotency_key_reused")
    assert len(await stored(both)) == 1


async def test_the_sdks_own_repetition_makes_one_batch(both: TwoTenants, file_id: str) -> None:
    """The first answer is lost on its way: the client sees a broken connection and sends the same bytes again."""
    lost: list[int] = []

    async def lose_once(response: httpx.Response) -> None:
        if response.request.url.path == "/v1/batches" and not lost:
            lost.append(response.status_code)
            raise httpx.ReadError("lost")

    client = both.acme.openai.with_options(max_retries=2)
    client._client.event_hooks["response"].append(lose_once)  # type: ignore[arg-type]
    made = await client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")

    assert lost == [200]
    assert [batch.id for batch in await stored(both)] == [made.id]


@pytest.mark.parametrize("ended", [BatchStatus.CANCELLING, BatchStatus.CANCELLED])
async def test_cancelling_twice_changes_nothing(both: TwoTenants, file_id: str, ended: BatchStatus) -> None:
    client = both.acme.openai
    made = await client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
    first = await client.batches.cancel(made.id)
    await change(both, made.id, status=ended)

    again = await client.batches.cancel(made.id)

    assert first.status == "cancelling" and first.cancelling_at is not None
    assert (again.status, again.cancelling_at) == (ended, first.cancelling_at)


@pytest.mark.parametrize(
    "status", [BatchStatus.FINALIZING, BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED]
)
async def test_a_batch_that_has_ended_cannot_be_cancelled_and_no_client_tries_again(
    both: TwoTenants, file_id: str, status: BatchStatus
) -> None:
    made = (await create(both, file_id)).json()["id"]
    await change(both, made, status=status)

    with pytest.raises(openai.BadRequestError, match=f"is {status} and cannot be cancelled"):
        await both.acme.openai.batches.cancel(made)


async def test_a_cancellation_is_not_lost_to_a_runner_that_writes_at_the_same_moment(
    both: TwoTenants, file_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await create(both, file_id)).json()["id"]
    write = both.tenants.shelf.write
    outrun: list[str] = []

    async def outrun_once(key: str, value: bytes, revision: int) -> int | None:
        if not outrun:
            outrun.append(key)
            return None
        return await write(key, value, revision)

    monkeypatch.setattr(both.tenants.shelf, "write", outrun_once)

    assert (await both.acme.http.post(f"/v1/batches/{made}/cancel")).json()["status"] == "cancelling"
    assert len(outrun) == 1


async def test_the_list_is_turned_page_by_page_newest_first(both: TwoTenants, file_id: str) -> None:
    made = [(await create(both, file_id, metadata={"n": str(n)})).json()["id"] for n in range(5)]

    assert [each.id async for each in both.acme.openai.batches.list(limit=2)] == made[::-1]
    page = (await both.acme.http.get("/v1/batches?limit=2")).json()
    last = (await both.acme.http.get(f"/v1/batches?limit=2&after={made[1]}")).json()
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", made[4], made[3], True)
    assert (len(last["data"]), last["has_more"]) == (1, False)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x"])
async def test_a_list_of_impossible_parameters_is_refused(both: TwoTenants, query: str) -> None:
    assert code_of(await both.acme.http.get(f"/v1/batches?{query}")) == (400, "invalid_value")


async def test_a_list_that_goes_on_after_what_is_not_there_is_refused(both: TwoTenants) -> None:
    assert code_of(await both.acme.http.get(f"/v1/batches?after={NOBODYS_BATCH}")) == (404, "not_found")


@pytest.mark.parametrize("batch_id", [NOBODYS_BATCH, "batch_abc", NOBODYS_FILE, "%2e%2e", "batch_*"])
@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/cancel")])
async def test_a_batch_that_is_not_there_is_404(both: TwoTenants, method: str, rest: str, batch_id: str) -> None:
    assert (await both.acme.http.request(method, f"/v1/batches/{batch_id}{rest}")).status_code == 404


def test_a_segment_of_the_output_names_its_file() -> None:
    batch = Batch("batch_0", "acme", CHAT, "file-0", 60.0, 0.0, output=(Segment("0" * 16, 5, 1, 1),))
    assert batch.output_file_id is not None and batch.error_file_id is None
