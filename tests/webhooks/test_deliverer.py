"""An event reaches every endpoint that wants it, by the schedule, whatever others do and whenever the process ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from patience import eventually
from structlog.testing import capture_logs
from webhook_bench import NOW, OK, SIGNER, Bench

from fleet.model.attempt import Answer, Usage
from fleet.model.errors import LoginRefused, QueueUnavailable
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from fleet.model.webhook import EventType, ExpectedResponse, WebhookEvent
from fleet.webhooks import deliverer as module
from fleet.webhooks.deliverer import EXPECTED_SECONDS
from fleet.webhooks.pacing import SLOTS
from fleet.webhooks.responses import type_of
from fleet.webhooks.signing import signed_headers
from policies.webhooks import JITTER, SCHEDULE_SECONDS, WebhookReply

EVENT = WebhookEvent("acme", EventType.BATCH_COMPLETED, "batch_1", NOW)
FAILED = WebhookReply(500)
JOB = "job-000000000001"
EXPECTED = ExpectedResponse("acme", JOB, NOW)


def events(count: int) -> list[WebhookEvent]:
    return [replace(EVENT, object_id=f"batch_{number}") for number in range(100, 100 + count)]


def result(status: Status, finish_reason: str | None = None) -> Result:
    message = {"role": "assistant", "content": "yes"}
    answer = None if finish_reason is None else Answer(message, finish_reason, Usage(1, 1), "m")
    return Result(JOB, "acme", status, Reason.ALL_FAILED, NOW + 60, answer=answer)


async def attempts(bench: Bench, count: int) -> None:
    """Wait until so many attempts have been made."""
    await eventually(lambda: len(bench.posted) >= count)


async def test_an_event_is_sent_signed_to_every_endpoint_that_wants_it(bench: Bench) -> None:
    first, second = await bench.endpoint(1), await bench.endpoint(2)
    await bench.endpoint(3, "acme", EventType.BATCH_FAILED)
    await bench.endpoint(4, "beta")
    await bench.outbox.announce([EVENT])

    async with bench.delivering() as deliverer:
        await bench.empty()

    assert sorted(each.url for each in bench.posted) == [first.url, second.url]
    [sent] = [each for each in bench.posted if each.url == first.url]
    assert json.loads(sent.body)["data"] == {"id": "batch_1"}
    assert sent.headers == signed_headers(EVENT.id, sent.body, SIGNER.secrets(first, NOW), NOW)
    assert deliverer.attempts == {"delivered": 2, "failed": 0, "gone": 0}


async def test_an_event_that_nobody_wants_is_forgotten(bench: Bench) -> None:
    await bench.outbox.announce([EVENT])
    async with bench.delivering():
        await bench.empty()
    assert bench.posted == []


async def test_a_failed_attempt_is_made_again_by_the_schedule_until_it_succeeds(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED, WebhookReply(problem="timeout"), OK]
    await bench.outbox.announce([EVENT])

    async with bench.delivering():
        for number, seconds in enumerate((0.0, *SCHEDULE_SECONDS[:2]), 1):
            bench.move(seconds)
            await attempts(bench, number)
        await bench.empty()

    assert [each.at - NOW for each in bench.posted] == [0, 5, 305]
    assert len({each.headers["webhook-id"] for each in bench.posted}) == 1
    assert len({each.headers["webhook-timestamp"] for each in bench.posted}) == 3


async def test_an_attempt_is_not_made_before_its_time(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED, OK]
    bench.jitter = 1.0
    await bench.outbox.announce([EVENT])
    async with bench.delivering():
        await attempts(bench, 1)
        bench.move(SCHEDULE_SECONDS[0])  # without its jitter
        await bench.outbox.announce([replace(EVENT, object_id="batch_2")])
        await attempts(bench, 2)
        assert await bench.outbox.stored() == 1
        bench.move(SCHEDULE_SECONDS[0] * JITTER)
        await bench.empty()
    assert [json.loads(each.body)["data"]["id"] for each in bench.posted] == ["batch_1", "batch_2", "batch_1"]


async def test_after_the_last_attempt_the_event_is_given_up_with_a_line_and_a_count(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED]
    await bench.outbox.announce([EVENT])

    with capture_logs() as lines:
        async with bench.delivering() as deliverer:
            for number, seconds in enumerate((0.0, *SCHEDULE_SECONDS), 1):
                bench.move(seconds)
                await attempts(bench, number)
            await bench.empty()

    assert len(bench.posted) == 10
    [line] = [line for line in lines if line["event"] == "webhook_given_up"]
    assert (line["tenant"], line["endpoint"], line["event_id"]) == ("acme", endpoint.id, EVENT.id)
    assert (line["attempts"], line["problem"]) == (10, "status 500")
    assert deliverer.given_up["attempts_exhausted"] == 1
    assert deliverer.attempts["failed"] == 10


async def test_another_process_goes_on_where_the_first_was_with_the_same_jitter(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED, FAILED, OK]
    bench.jitter = 0.5
    await bench.outbox.announce([EVENT])
    async with bench.delivering():
        await attempts(bench, 1)

    bench.jitter = 0.9  # drawn by the second process, for the third attempt
    async with bench.delivering():
        bench.move(SCHEDULE_SECONDS[0] * (1 + JITTER * 0.5))
        await attempts(bench, 2)
        bench.move(SCHEDULE_SECONDS[1] * (1 + JITTER * 0.9))
        await bench.empty()

    assert len(bench.posted) == 3


async def test_a_process_that_dies_in_an_attempt_leaves_it_to_the_next(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    stuck = asyncio.Event()

    async def hang() -> WebhookReply:
        await stuck.wait()
        return OK

    bench.replies[endpoint.url] = [hang, OK]
    await bench.outbox.announce([EVENT])
    dying = asyncio.create_task(bench.deliverer().run())
    await attempts(bench, 1)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    async with bench.delivering():
        bench.move(module.BUG_SECONDS)  # beyond every lease
        await bench.empty()

    assert len(bench.posted) == 2
    assert bench.posted[0].headers["webhook-id"] == bench.posted[1].headers["webhook-id"]


async def test_an_endpoint_that_hangs_keeps_no_other_waiting(bench: Bench) -> None:
    hanging, other = await bench.endpoint(1), await bench.endpoint(2, "beta")
    released = asyncio.Event()

    async def hang() -> WebhookReply:
        await released.wait()
        return OK

    bench.replies[hanging.url] = [hang]
    await bench.outbox.announce(events(50))
    async with bench.delivering():
        await eventually(lambda: sum(each.url == hanging.url for each in bench.posted) == SLOTS)
        await bench.outbox.announce([replace(each, tenant="beta") for each in events(20)])
        await eventually(lambda: sum(each.url == other.url for each in bench.posted) == 20)
        assert sum(each.url == hanging.url for each in bench.posted) == SLOTS
        released.set()
        while await bench.outbox.stored():
            bench.move(1.0)
            await asyncio.sleep(0)
    assert sum(each.url == hanging.url for each in bench.posted) == 50


async def test_an_endpoint_that_is_busy_is_sent_nothing_for_as_long_as_it_asks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [WebhookReply(429, 600.0), OK]
    monkeypatch.setattr(module, "monotonic", lambda: bench.now)
    await bench.outbox.announce([EVENT])
    async with bench.delivering():
        await attempts(bench, 1)
        await bench.outbox.announce(events(3))
        await eventually(lambda: bench.outbox.waiting("acme", endpoint.id))
        bench.move(599.0)
        await eventually(lambda: _all_put_off(bench))
        assert len(bench.posted) == 1
        while await bench.outbox.stored():
            bench.move(1.0)
            await asyncio.sleep(0)
    assert len(bench.posted) == 5


async def _all_put_off(bench: Bench) -> bool:
    return await bench.outbox.stored() == 4 and not bench.outbox._free()


async def test_an_endpoint_that_is_gone_is_sent_nothing_any_more(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [WebhookReply(410)]
    await bench.outbox.announce([EVENT])

    with capture_logs() as lines:
        async with bench.delivering() as deliverer:
            await bench.empty()
            await bench.outbox.announce(events(3))
            await bench.empty()

    assert len(bench.posted) == 1
    [stored] = await bench.endpoints.list("acme")
    assert stored == replace(endpoint, ended_at=NOW)
    assert [line["endpoint"] for line in lines if line["event"] == "webhook_endpoint_ended"] == [endpoint.id]
    assert deliverer.given_up["endpoint_gone"] == 1


async def test_what_waits_for_an_endpoint_is_not_sent_once_it_is_deleted(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED]
    await bench.outbox.announce([EVENT])
    async with bench.delivering() as deliverer:
        await eventually(lambda: deliverer.attempts["failed"])
        assert await bench.endpoints.delete("acme", endpoint.id)
        bench.move(SCHEDULE_SECONDS[0])
        await bench.empty()
    assert len(bench.posted) == 1
    assert deliverer.given_up["not_wanted"] == 1


async def test_an_attempt_goes_to_the_address_that_the_endpoint_has_then(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED]
    await bench.outbox.announce([EVENT])
    async with bench.delivering() as deliverer:
        await eventually(lambda: deliverer.attempts["failed"])
        found = await bench.endpoints.get("acme", endpoint.id)
        assert found is not None
        await bench.endpoints.put(replace(endpoint, url="https://moved.example/"), found[1])
        bench.move(SCHEDULE_SECONDS[0])
        await bench.empty()
    assert [each.url for each in bench.posted] == [endpoint.url, "https://moved.example/"]


async def test_an_endpoint_with_too_much_waiting_is_told_of_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [FAILED]
    with capture_logs() as lines:
        async with bench.delivering() as deliverer:
            for each in events(5):
                await bench.outbox.announce([each])
                await eventually(lambda: _taken_in(bench, deliverer))
    assert await bench.outbox.waiting("acme", endpoint.id) == 2
    assert deliverer.given_up["backlog_full"] == 3
    assert [line["endpoint"] for line in lines if line["event"] == "webhook_backlog_full"] == [endpoint.id]


async def _taken_in(bench: Bench, deliverer: module.WebhookDeliverer) -> bool:
    return not deliverer._in_hand and not bench.outbox._free()


async def test_a_bug_in_an_attempt_counts_as_one_that_failed(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    bench.replies[endpoint.url] = [RuntimeError("a bug"), OK]
    await bench.outbox.announce([EVENT])
    with capture_logs() as lines:
        async with bench.delivering() as deliverer:
            await eventually(lambda: deliverer.attempts["failed"])
            bench.move(SCHEDULE_SECONDS[0])
            await bench.empty()
    assert "webhook_attempt_met_a_bug" in {line["event"] for line in lines}
    assert deliverer.attempts["delivered"] == 1


@pytest.mark.parametrize(
    ("ended", "type"),
    [
        (result(Status.SUCCEEDED, "stop"), EventType.RESPONSE_COMPLETED),
        (result(Status.BEST_EFFORT, "tool_calls"), EventType.RESPONSE_COMPLETED),
        (result(Status.SUCCEEDED, "length"), EventType.RESPONSE_INCOMPLETE),
        (result(Status.SUCCEEDED, "content_filter"), EventType.RESPONSE_INCOMPLETE),
        (result(Status.CANCELLED), EventType.RESPONSE_CANCELLED),
        *((result(status), EventType.RESPONSE_FAILED) for status in (Status.FAILED, Status.EXPIRED, Status.REJECTED)),
    ],
    ids=lambda value: str(value) if isinstance(value, EventType) else "",
)
async def test_a_response_is_told_as_what_it_has_become(bench: Bench, ended: Result, type: EventType) -> None:
    assert type_of(ended) is type
    await bench.endpoint()
    bench.results[JOB] = ended
    await bench.outbox.announce([EXPECTED])
    async with bench.delivering():
        await bench.empty()
    sent = json.loads(bench.posted[0].body)
    assert (sent["type"], sent["data"]["id"], sent["created_at"]) == (type, f"resp_{JOB}", int(NOW + 60))


async def test_a_response_without_a_result_is_waited_for(bench: Bench) -> None:
    await bench.endpoint()
    await bench.outbox.announce([EXPECTED])
    async with bench.delivering():
        await eventually(lambda: not bench.outbox._free())
        assert await bench.outbox.stored() == 1
        bench.results[JOB] = result(Status.SUCCEEDED, "stop")
        bench.move(30.0)
        await bench.empty()
    assert len(bench.posted) == 1


async def test_a_response_that_can_have_no_result_any_more_is_given_up(bench: Bench) -> None:
    await bench.endpoint()
    await bench.outbox.announce([EXPECTED])
    bench.move(EXPECTED_SECONDS)
    async with bench.delivering() as deliverer:
        await bench.empty()
    assert (bench.posted, deliverer.given_up["no_result"]) == ([], 1)


async def test_what_the_broker_does_not_take_back_is_sent_again_and_nothing_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.endpoint()
    done, failures = bench.outbox.done, [QueueUnavailable("away")]

    async def failing(taken: object) -> None:
        if bench.posted and failures:
            raise failures.pop()
        await done(taken)

    monkeypatch.setattr(bench.outbox, "done", failing)
    await bench.outbox.announce([EVENT])
    async with bench.delivering():
        await eventually(lambda: not failures)
        bench.move(module.BUG_SECONDS)
        await bench.empty()
    assert len(bench.posted) == 2


async def test_while_the_broker_is_away_it_tries_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.endpoint()
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    take, failures = bench.outbox.take, [QueueUnavailable("away")] * 3

    async def failing(limit: int, wait_seconds: float) -> object:
        if failures:
            raise failures.pop()
        return await take(limit, wait_seconds)

    monkeypatch.setattr(bench.outbox, "take", failing)
    await bench.outbox.announce([EVENT])
    with capture_logs() as lines:
        async with bench.delivering():
            await bench.empty()
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["webhooks_not_taken"] * 3
    assert len(bench.posted) == 1


async def test_a_login_that_is_refused_ends_the_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(limit: int, wait_seconds: float) -> object:
        raise LoginRefused("no right")

    monkeypatch.setattr(bench.outbox, "take", refused)
    with pytest.raises(LoginRefused):
        await bench.deliverer().run()


async def test_an_end_lets_the_attempts_that_run_end(bench: Bench) -> None:
    endpoint = await bench.endpoint()
    going, released = asyncio.Event(), asyncio.Event()

    async def slow() -> WebhookReply:
        going.set()
        await released.wait()
        return OK

    bench.replies[endpoint.url] = [slow]
    await bench.outbox.announce([EVENT])
    deliverer = bench.deliverer()
    running = asyncio.create_task(deliverer.run())
    await going.wait()
    deliverer.drain()
    released.set()
    await running
    assert await bench.outbox.stored() == 0
