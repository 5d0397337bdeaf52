"""Every peer is set up so that it loses no job of a dead worker; what is not installed here is stood in for."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from benchmarks.peers.brokers import DURABLE_REDIS
from benchmarks.peers.engine import flags_of
from benchmarks.peers.entrants import ENTRANTS, ROOT
from benchmarks.peers.work import KOMBU, NATS, REDELIVERY_SECONDS, REDIS


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NATS, "nats://127.0.0.1:1")
    monkeypatch.setenv(REDIS, "/nowhere/redis.sock")


def worker(name: str, monkeypatch: pytest.MonkeyPatch, *absent: str) -> tuple[ModuleType, dict[str, Any]]:
    """Import a worker with stand-ins for the packages that are absent."""
    standins = {package: MagicMock() for package in absent}
    for package, standin in standins.items():
        monkeypatch.setitem(sys.modules, package, standin)
    module = f"benchmarks.peers.workers.{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module(module), standins


def test_celery_acknowledges_late_and_gets_jobs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    _, standins = worker("celery_redis", monkeypatch, "celery")
    settings = standins["celery"].Celery.return_value.conf.update.call_args.kwargs
    assert settings["task_acks_late"]
    assert settings["task_reject_on_worker_lost"]
    assert KOMBU["visibility_timeout"] == REDELIVERY_SECONDS
    assert settings["broker_transport_options"] == KOMBU


def test_taskiq_keeps_jobs_until_their_results_are_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    module, standins = worker("taskiq_nats", monkeypatch, "taskiq_nats", "taskiq_redis")
    settings = standins["taskiq_nats"].PullBasedJetStreamBroker.call_args.kwargs
    assert settings["consumer_config"].ack_wait == REDELIVERY_SECONDS
    assert settings["consumer_config"].durable_name == settings["durable"] == module.DURABLE
    command = next(each.command for each in ENTRANTS if each.module == "taskiq_nats")
    assert "when_saved" in command


def test_ray_serve_gets_jobs_back_as_soon_as_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = worker("ray_serve", monkeypatch)
    adapter = module.processing().adapter_config
    assert adapter.broker_transport_options == KOMBU
    assert adapter.backend_url.endswith("virtual_host=1")


def test_redis_writes_every_command_to_a_file_that_is_synced_each_second() -> None:
    assert DURABLE_REDIS == {"appendonly": "yes", "appendfsync": "everysec"}


@pytest.mark.parametrize("entrant", ENTRANTS, ids=lambda each: each.module)
def test_every_peer_has_a_client_and_says_how_it_keeps_jobs(entrant: Any) -> None:
    assert (ROOT / "benchmarks" / "peers" / "workers" / f"{entrant.module}.py").exists()
    assert "acknowledge" in entrant.how


def test_the_peers_are_locked_and_ray_is_the_one_that_fleet_runs_on() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)$", Path(ROOT, "requirements", name).read_text(), re.M))

    peers = pins("peers.lock")
    assert {"celery", "litellm", "ray", "redis", "taskiq-nats", "taskiq-redis"} <= set(peers)
    assert peers["ray"] == pins("cpu.lock")["ray"]


def test_the_engine_gets_the_arguments_of_the_profile_as_flags() -> None:
    described = {"dtype": "bfloat16", "max_model_len": 512, "enforce_eager": True}
    assert flags_of(described) == ["--dtype", "bfloat16", "--max-model-len", "512", "--enforce-eager"]
