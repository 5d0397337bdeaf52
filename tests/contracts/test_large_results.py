"""A result that is larger than a message comes back whole, wherever its answer lies."""

from __future__ import annotations

import asyncio
import json

from queue_rigs import JetStreamRig, Rig

from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.delivery import Stored
from fleet.model.reason import Reason
from fleet.model.result import Result, Status
from queues.wire import parcels

MIB = 1024 * 1024


def large(job_id: str = "job-000000000001", characters: int = 9 * MIB) -> Result:
    """More than the 4 MiB of the embedded server, in letters that differ."""
    text = "".join(chr(97 + n % 26) for n in range(1000)) * (characters // 1000)
    usage = Usage(3, 4_000_000)
    answer = Answer({"role": "assistant", "content": text}, "stop", usage, "mixtral-8x7b")
    short = Answer({}, "stop", usage, "mixtral-8x7b")
    tried = Attempt(1, "mixtral", Reason.ROUTED, 1.0, 2.0, short, 0.9)
    return Result(
        job_id, "acme", Status.SUCCEEDED, Reason.CONFIDENT, 5.0, "chat", 1.0, answer, "mixtral", 0.9, (tried,)
    )


async def test_a_large_result_is_found_whole(rig: Rig) -> None:
    assert await rig.queue.publish([large()]) == [Stored.NEW]
    assert await rig.desk("acme").result("job-000000000001") == large()
    [body] = await rig.stored("RESULTS")
    told = json.loads(body)
    assert told["message"] is None
    assert (told["claim"]["bucket"], told["claim"]["bytes"] > 8 * MIB) == ("results-large", True)


async def test_a_large_result_is_pushed_whole_to_whoever_listens(rig: Rig) -> None:
    results = rig.desk("acme").results()
    coming = asyncio.ensure_future(anext(results))
    for number in range(100):  # the subscription may take a moment
        await rig.queue.publish([large(f"job-{number:012d}")])
        if (await asyncio.wait([coming], timeout=0.2))[0]:
            break
    found = await coming
    assert found.answer == large().answer
    await results.aclose()


async def test_the_first_of_two_large_results_keeps_its_own_answer(rig: Rig) -> None:
    first, second = large(), large(characters=10 * MIB)
    assert await rig.queue.publish([first]) == [Stored.NEW]
    assert await rig.queue.publish([second]) == [Stored.REPEAT]
    assert await rig.desk("acme").result(first.job_id) == first


async def test_another_tenants_desk_resolves_no_claim_to_it(rig: Rig) -> None:
    await rig.queue.publish([large()])
    [body] = await rig.stored("RESULTS")
    await rig.inject("results.globex.job-000000000001", body)
    assert await rig.desk("globex").result("job-000000000001") is None


async def test_beyond_all_reason_it_is_refused(rig: Rig, monkeypatch) -> None:
    monkeypatch.setattr(parcels, "MOST_BYTES", 5 * MIB)
    assert await rig.queue.publish([large()]) == [Stored.REFUSED]


async def test_any_clients_object_store_can_fetch_the_answer(rig: Rig) -> None:
    if not isinstance(rig, JetStreamRig):
        return
    await rig.queue.publish([large()])
    [body] = await rig.stored("RESULTS")
    claim = json.loads(body)["claim"]
    bucket = await rig.connection.nats.jetstream().object_store(claim["bucket"])
    found = await bucket.get(claim["name"])
    assert json.loads(found.data) == large().answer.message
