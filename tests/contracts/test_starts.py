"""The record of a paid call: only one may begin it, and whoever did may ask again."""

from __future__ import annotations

from queue_rigs import Rig

from fleet.model.delivery import Stored
from fleet.model.result import Start


def start(by: str, attempt: int = 1, call: int = 1, tenant: str = "acme") -> Start:
    return Start("job-of-the-starts-test", tenant, attempt, call, "gpt-4o", 1.0, by)


async def test_only_the_first_may_begin_a_call(rig: Rig) -> None:
    assert await rig.queue.publish([start("one")]) == [Stored.NEW]
    assert await rig.rival.publish([start("other")]) == [Stored.REPEAT]


async def test_who_began_it_may_ask_again(rig: Rig) -> None:
    await rig.queue.publish([start("one")])
    assert await rig.queue.publish([start("one")]) == [Stored.NEW]
    assert len(await rig.stored("STARTS")) == 1


async def test_each_attempt_each_call_and_each_tenant_has_a_record_of_its_own(rig: Rig) -> None:
    posts = [start("a"), start("b", attempt=2), start("c", call=2), start("d", tenant="beta")]
    assert await rig.queue.publish(posts) == [Stored.NEW] * 4
