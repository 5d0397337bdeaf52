"""The router of calls with a session, on Serve's own machinery without a cluster."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.config import RequestRouterConfig

from deployments.profiles import Profile, llm_config, model
from deployments.serve.affinity import AHEAD, PrefixRouter

LLAMA = DeploymentID("llama-8b", "llama-8b")


def replica(name: str) -> Any:
    return SimpleNamespace(replica_id=ReplicaID(name, LLAMA), max_ongoing_requests=100)


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> PrefixRouter:
    """A router whose own choice, with which Serve would go on, is every replica."""

    async def every(self: Any, candidate_replicas: list[Any], pending_request: Any = None) -> list[list[Any]]:
        return [list(candidate_replicas)]

    monkeypatch.setattr(PowerOfTwoChoicesRequestRouter, "choose_replicas", every)
    return PrefixRouter(
        deployment_id=LLAMA, handle_source=DeploymentHandleSource.REPLICA, use_replica_queue_len_cache=True
    )


def call(session: str) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(session_id=session))


async def first(router: PrefixRouter, replicas: list[Any], session: str) -> str | None:
    """Return the name of the replica that a session is sent to before all others, None if any will do."""
    ranks = await router.choose_replicas(replicas, call(session))
    assert ranks[-1] == replicas, "if that one takes no call, another does"
    return ranks[0][0].replica_id.unique_id if len(ranks) > 1 else None


async def test_a_session_has_one_replica_and_sessions_are_spread_over_all(router):
    replicas = [replica(name) for name in "abc"]
    homes = [await first(router, replicas, str(session)) for session in range(300)]
    assert homes == [await first(router, replicas[::-1], str(session)) for session in range(300)]
    assert all(count > 60 for count in Counter(homes).values())
    assert set(homes) == set("abc")


async def test_a_replica_that_goes_moves_its_own_sessions_alone(router):
    replicas = [replica(name) for name in "abc"]
    before = [await first(router, replicas, str(session)) for session in range(100)]
    after = [await first(router, replicas[:2], str(session)) for session in range(100)]
    assert [b == a for b, a in zip(before, after, strict=True)] == [b != "c" for b in before]


async def test_a_busy_replica_leaves_its_session_to_the_others(router):
    replicas = [replica(name) for name in "ab"]
    home = await first(router, replicas, "group")
    busy = next(each.replica_id for each in replicas if each.replica_id.unique_id == home)
    router.replica_queue_len_cache.update(busy, AHEAD - 1)
    assert await first(router, replicas, "group") == home
    router.replica_queue_len_cache.update(busy, AHEAD)
    assert await first(router, replicas, "group") is None
    for each in replicas:
        router.replica_queue_len_cache.update(each.replica_id, AHEAD)
    assert await first(router, replicas, "group") == home


async def test_a_call_without_a_session_is_routed_as_ever(router):
    replicas = [replica(name) for name in "ab"]
    assert await first(router, replicas, "") is None
    assert await router.choose_replicas(replicas, None) == [replicas]


@pytest.mark.parametrize(
    ("profile", "expected"), [(Profile.LOCAL, None), (Profile.GPU, "PrefixRouter")], ids=["one replica", "up to four"]
)
def test_a_model_that_may_have_several_replicas_is_deployed_with_the_router(profile, expected):
    config = llm_config("llama-8b", model(profile, "llama-8b")).deployment_config.get("request_router_config")
    assert (config and RequestRouterConfig(**config).get_request_router_class().__name__) == expected
