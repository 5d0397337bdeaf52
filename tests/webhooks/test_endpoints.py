"""What a tenant may do with its endpoints, and what it may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from webhook_bench import NOW, SIGNER

from fleet.model.errors import InvalidWebhook, QueueUnavailable
from fleet.model.webhook import ENDPOINT_ID, EventType, WebhookEndpoint
from fleet.webhooks.addresses import Permitted
from fleet.webhooks.endpoints import KEEP_OLD_SECONDS, MOST_ENDPOINTS, WebhookEndpoints
from fleet.webhooks.posting import Poster
from queues.memory.webhooks import MemoryEndpoints

URL = "https://hooks.example/fleet"
TYPES = [EventType.BATCH_COMPLETED]


class Clock:
    now = NOW


class Names:
    """Every name leads to a public address, but those in `inside`."""

    inside = ("inside.example", "10.0.0.1")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        if host == "nowhere.example":
            raise OSError("no such name")
        return ["10.0.0.1" if host in self.inside else "8.8.8.8"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def endpoints(clock: Clock, store: MemoryEndpoints | None = None, *networks: str) -> WebhookEndpoints:
    poster = Poster(Permitted(map(ip_network, networks)), Names())
    return WebhookEndpoints(store or MemoryEndpoints(), SIGNER, poster, lambda: clock.now)


async def made(mine: WebhookEndpoints, tenant: str = "acme", url: str = URL) -> WebhookEndpoint:
    return await mine.create(tenant, "nightly", url, TYPES)


async def test_a_new_endpoint_is_there_with_a_secret_of_its_own(clock: Clock) -> None:
    mine = endpoints(clock)
    first, second = await made(mine), await made(mine)

    assert ENDPOINT_ID.fullmatch(first.id)
    assert (first.created_at, first.updated_at, first.event_types) == (NOW, NOW, frozenset(TYPES))
    assert mine.secret(first) != mine.secret(second)
    assert await mine.get("acme", first.id) == first


async def test_endpoints_are_listed_newest_first_and_only_ones_own(clock: Clock) -> None:
    mine, found = endpoints(clock), []
    for _ in range(3):
        found.append(await made(mine))
        clock.now += 1
    await made(mine, "beta")
    assert await mine.list("acme") == found[::-1]


async def test_a_tenant_has_only_so_many(clock: Clock) -> None:
    mine = endpoints(clock)
    for _ in range(MOST_ENDPOINTS):
        await made(mine)
    with pytest.raises(InvalidWebhook, match="at most"):
        await made(mine)
    await made(mine, "beta")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "https://hooks.example:8443/",
        "https://user:word@hooks.example/",
        "https://user@hooks.example/",
        "https://hooks.example/#part",
        "ftp://hooks.example/",
        "https://",
        "https:///path",
        "hooks.example",
        "",
        "https://hooks.example:port/",
        "https://hooks.example:99999/",
        "https://[::1/",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nHost: x",
        "https://höoks.example/",
        "https://hooks.example/" + "a" * 2048,
        "https://inside.example/",
        "https://10.0.0.1/",
    ],
)
async def test_a_url_that_may_not_be_sent_to_is_refused_by_name_of_the_field(clock: Clock, url: str) -> None:
    store = MemoryEndpoints()
    with pytest.raises(InvalidWebhook) as refused:
        await made(endpoints(clock, store), url=url)
    assert refused.value.field == "url"
    assert await store.list("acme") == []


async def test_a_name_that_leads_nowhere_yet_is_taken(clock: Clock) -> None:
    await made(endpoints(clock), url="https://nowhere.example/")


@pytest.mark.parametrize("url", ["http://inside.example/", "https://inside.example:8443/", URL])
async def test_in_an_operators_network_any_port_will_do(clock: Clock, url: str) -> None:
    await made(endpoints(clock, None, "10.0.0.0/8"), url=url)


async def test_an_operators_network_does_not_open_the_internet_without_https(clock: Clock) -> None:
    with pytest.raises(InvalidWebhook):
        await made(endpoints(clock, None, "10.0.0.0/8"), url="http://hooks.example/")


async def test_a_change_changes_what_is_given_and_when_it_was_changed(clock: Clock) -> None:
    mine = endpoints(clock)
    before = await made(mine)
    clock.now += 10
    changed = await mine.update("acme", before.id, name="daily")
    assert changed == replace(before, name="daily", updated_at=NOW + 10)
    assert await mine.update("acme", before.id, name="daily") == changed
    assert await mine.update("beta", before.id, name="theirs") is None


async def test_a_change_may_not_lead_inside(clock: Clock) -> None:
    mine = endpoints(clock)
    before = await made(mine)
    with pytest.raises(InvalidWebhook):
        await mine.update("acme", before.id, url="https://inside.example/")
    assert await mine.get("acme", before.id) == before


async def test_a_change_switches_an_endpoint_on_that_had_ended(clock: Clock) -> None:
    store = MemoryEndpoints()
    mine = endpoints(clock, store)
    before = await made(mine)
    found = await store.get("acme", before.id)
    assert found is not None
    await store.put(replace(before, ended_at=NOW), found[1])
    assert await mine.update("acme", before.id) == before


@pytest.mark.parametrize("keep_old", [True, False])
async def test_a_rotation_makes_a_new_secret_and_keeps_the_old_one_if_asked(clock: Clock, keep_old: bool) -> None:
    mine = endpoints(clock)
    before = await made(mine)
    after = await mine.rotate("acme", before.id, keep_old)
    assert after is not None
    old, new = mine.secret(before), mine.secret(after)
    assert old != new
    assert list(SIGNER.secrets(after, NOW)) == ([new, old] if keep_old else [new])
    assert list(SIGNER.secrets(after, NOW + KEEP_OLD_SECONDS)) == [new]
    assert await mine.rotate("beta", before.id, keep_old) is None


async def test_two_changes_at_once_are_both_made(clock: Clock) -> None:
    class Interrupted(MemoryEndpoints):
        """A store in which somebody else is always first, once."""

        first = True

        async def put(self, endpoint: WebhookEndpoint, revision: int) -> bool:
            if revision and self.first:
                self.first = False
                found = await self.get(endpoint.tenant, endpoint.id)
                assert found is not None
                await super().put(replace(found[0], name="theirs"), found[1])
            return await super().put(endpoint, revision)

    mine = endpoints(clock, Interrupted())
    before = await made(mine)
    changed = await mine.update("acme", before.id, url=f"{URL}/2")
    assert changed is not None
    assert (changed.name, changed.url) == ("theirs", f"{URL}/2")


async def test_an_endpoint_that_others_change_all_the_time_is_no_reason_to_wait_for_ever(clock: Clock) -> None:
    class Busy(MemoryEndpoints):
        async def put(self, endpoint: WebhookEndpoint, revision: int) -> bool:
            return not revision and await super().put(endpoint, revision)

    mine = endpoints(clock, Busy())
    before = await made(mine)
    with pytest.raises(QueueUnavailable):
        await mine.update("acme", before.id, name="daily")


async def test_a_deleted_endpoint_is_gone(clock: Clock) -> None:
    mine = endpoints(clock)
    before = await made(mine)
    assert not await mine.delete("beta", before.id)
    assert await mine.delete("acme", before.id)
    assert await mine.get("acme", before.id) is None


@pytest.mark.parametrize("endpoint_id", ["*", ">", "we_*", "we_1", "", f"we_{1:024x}.x"])
async def test_a_pattern_is_no_id(clock: Clock, endpoint_id: str) -> None:
    mine = endpoints(clock)
    await made(mine)
    assert await mine.get("acme", endpoint_id) is None
    assert await mine.update("acme", endpoint_id, name="x") is None
    assert await mine.rotate("acme", endpoint_id, keep_old=False) is None
    assert not await mine.delete("acme", endpoint_id)
