"""What an operator and a spot market do to a fleet that works: nothing is lost, and nothing is replaced needlessly.

Engines are slow to start, so what is Serve's part alone is shown on a model without one, on a small Ray of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from light_model import TARGET
from patience import PATIENCE_SECONDS, eventually
from patient_client import PatientClient

from deployments import cluster
from deployments.serve.api import Mode, NewBounds, ServeApi, Switch
from deployments.serve.backend import ray_serve_backend
from deployments.spot import drain_node
from deployments.standins.tasks import examples
from fleet.model.attempt import Answer, Failure
from fleet.model.call import Call
from fleet.model.result import Result, Status

pytestmark = pytest.mark.e2e

WORKERS = 6
CALLS = [Call({"messages": []}, PATIENCE_SECONDS)] * 4
UNDER_WAY = WORKERS * len(CALLS)


@dataclass
class LightFleet:
    """A Ray with Serve; `address` is where further nodes join."""

    api: ServeApi
    address: str

    def apply(self, version: str, least: int = 1, most: int = 3, **options: Any) -> None:
        """One light model whose replicas are as many as its bounds make them, or where they are held."""
        autoscaling = {
            "min_replicas": least,
            "max_replicas": most,
            "upscale_delay_s": 0.0,
            "downscale_delay_s": 0.0,
            "policy": {"policy_function": "light_model:policy"},
        }
        resources = options.pop("resources", {})
        self.api.put(
            {
                "applications": [
                    {
                        "name": TARGET,
                        "route_prefix": None,
                        "import_path": "light_model:build",
                        "args": {"version": version, "seconds": 0.1, "resources": resources},
                        "deployments": [{"name": TARGET, "autoscaling_config": autoscaling, **options}],
                    }
                ]
            }
        )

    async def empty(self) -> None:
        """Returns once nothing runs."""
        self.api.put({"applications": []})
        await self._seen(lambda application: not application)

    async def until(self, is_so: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """The replicas, as soon as they are so and the application runs."""
        return _replicas(await self._seen(lambda found: found.get("status") == "RUNNING" and is_so(_replicas(found))))

    async def _seen(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async def look() -> list[dict[str, Any]]:
            found = (await asyncio.to_thread(self.api.read)).details["applications"].get(TARGET, {})
            return [found] if is_so(found) else []

        return (await eventually(look))[0]


def _replicas(application: dict[str, Any]) -> list[dict[str, Any]]:
    return application["deployments"].get(TARGET, {}).get("replicas", [])


def ids(replicas: list[dict[str, Any]]) -> set[str]:
    return {replica["replica_id"] for replica in replicas}


def running(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda replicas: [replica["state"] for replica in replicas] == ["RUNNING"] * count


@dataclass
class Traffic:
    """Calls without a pause, and how each ended."""

    answers: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stopped: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        backend = ray_serve_backend(TARGET)
        while not self.stopped:
            ended = [outcome async for group in backend.run(CALLS) for _, outcome in group]
            assert len(ended) == len(CALLS), "each call ends once"
            self.answers += [outcome.message["content"] for outcome in ended if isinstance(outcome, Answer)]
            self.failures += [outcome for outcome in ended if isinstance(outcome, Failure)]
            self._news.set()

    async def until(self, is_so: Callable[[list[str]], bool]) -> None:
        """Returns once the answers so far are so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so(self.answers):
                self._news.clear()
                await self._news.wait()

    async def comes_from(self, version: str) -> None:
        """As many answers in a row as are under way at once."""
        await self.until(lambda answers: all(each.startswith(version) for each in ["-", *answers][-UNDER_WAY:]))


@contextmanager
def environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in (*values, *cluster.ENVIRONMENT)}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@pytest.fixture(scope="module")
def light_fleet() -> Iterator[LightFleet]:
    with environment(PYTHONPATH=str(Path(__file__).parents[1] / "support")):
        started = cluster.start(dashboard_port=0, http_port=0)
        try:
            assert started.dashboard_url is not None
            yield LightFleet(ServeApi(started.dashboard_url), started.address)
        finally:
            cluster.stop()


@pytest.fixture
async def traffic(light_fleet):
    """Runs from the moment the model does, until the test has seen enough; no call of it may fail."""
    await light_fleet.empty()
    light_fleet.apply("one")
    await light_fleet.until(running(1))
    traffic = Traffic()
    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(traffic.run())
        await traffic.comes_from("one")
        yield traffic
        traffic.stopped = True
    assert traffic.failures == []


@pytest.mark.proves("New bounds and a pause replace no replica and fail no call", how="real")
async def test_new_bounds_and_a_pause_replace_no_replica_and_fail_no_call(light_fleet, traffic):
    [first] = await light_fleet.until(running(1))
    await asyncio.to_thread(light_fleet.api.change, TARGET, NewBounds(2, None))
    before = await light_fleet.until(running(2))
    await asyncio.to_thread(light_fleet.api.change, TARGET, NewBounds(1, None))
    _, paused = await asyncio.to_thread(light_fleet.api.change, TARGET, Switch.PAUSE)
    assert (paused.mode, paused.wanted) == (Mode.PAUSED, 2)
    await asyncio.to_thread(light_fleet.api.change, TARGET, NewBounds(None, 1))
    assert ids(await light_fleet.until(running(2))) == ids(before) > ids([first])
    _, resumed = await asyncio.to_thread(light_fleet.api.change, TARGET, Switch.RESUME)
    assert (resumed.mode, resumed.wanted) == (Mode.AUTOSCALING, 1)
    assert ids(await light_fleet.until(running(1))) < ids(before)


@pytest.mark.proves("A drained model finishes what runs and comes back with its bounds", how="real")
async def test_a_drained_model_finishes_what_runs_and_comes_back_with_its_bounds(light_fleet, traffic):
    await asyncio.to_thread(light_fleet.api.change, TARGET, NewBounds(2, None))
    await light_fleet.until(running(2))
    traffic.stopped = True  # what is under way goes on
    await asyncio.to_thread(light_fleet.api.change, TARGET, Switch.DRAIN)
    await light_fleet.until(running(0))
    was, now = await asyncio.to_thread(light_fleet.api.change, TARGET, Switch.RESUME)
    assert (was.mode, was.wanted, now.mode, now.wanted) == (Mode.DRAINED, 0, Mode.AUTOSCALING, 2)


@pytest.mark.proves("Three replicas scaled down under load fail no call, and what runs on them is finished", how="real")
async def test_three_replicas_go_down_under_load_and_no_call_fails(light_fleet, traffic):
    await asyncio.to_thread(light_fleet.api.change, TARGET, NewBounds(3, 3))
    three = await light_fleet.until(running(3))
    pids = {str(replica["pid"]) for replica in three}
    await traffic.until(lambda answers: {answer.split()[1] for answer in answers} >= pids)
    await asyncio.to_thread(light_fleet.api.change, TARGET, NewBounds(1, 1))
    [left] = await light_fleet.until(running(1))
    seen = len(traffic.answers)
    await traffic.until(lambda answers: len(answers) >= seen + 2 * UNDER_WAY)
    assert {answer.split()[1] for answer in traffic.answers[seen + UNDER_WAY :]} == {str(left["pid"])}


@pytest.mark.proves("A rolling upgrade fails no call, with and without room for a second replica", how="real")
@pytest.mark.parametrize("surge", [0, 100])
async def test_a_new_version_replaces_the_old_one_and_fails_no_call(light_fleet, traffic, surge):
    light_fleet.apply("two", max_surge_percent=surge)
    await traffic.comes_from("two")
    await light_fleet.until(running(1))
    so_far = len(traffic.answers)
    await traffic.until(lambda answers: len(answers) > so_far + UNDER_WAY)
    assert {answer.split()[0] for answer in traffic.answers[so_far:]} == {"two"}


@contextmanager
def node(address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A further Ray node on this machine, with a place for one model on a spot machine."""
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--address", address),
        *("--num-cpus", "1", "--resources", '{"spot": 1}', "--object-store-memory", "100000000"),
        *("--node-ip-address", address.partition(":")[0]),
    ]
    # What keeps a local fleet on loopback forbids it a second node.
    several = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    # Where Ray notes the cluster, for whoever asks for any: a note of this one would outlive it.
    with TemporaryDirectory(prefix="ray-") as folder:
        several["RAY_TMPDIR"] = folder
        process = subprocess.Popen(command, env=several, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()  # as a machine goes
            process.wait(PATIENCE_SECONDS)


@pytest.mark.proves("A spot notice moves the replica to another node before the machine goes", how="fake nodes")
async def test_a_spot_notice_moves_the_replica_to_another_node_before_the_machine_goes(light_fleet):
    await light_fleet.empty()
    with node(light_fleet.address):
        light_fleet.apply("one", most=1, resources={"spot": 1})
        [first] = await light_fleet.until(running(1))
        with node(light_fleet.address):
            traffic = Traffic()
            async with asyncio.TaskGroup() as group:
                group.create_task(traffic.run())
                await traffic.comes_from("one")
                await asyncio.to_thread(drain_node, 60.0, "spot: terminate", first["node_id"])
                [second] = await light_fleet.until(
                    lambda replicas: running(1)(replicas) and ids(replicas) != {first["replica_id"]}
                )
                traffic.stopped = True
    assert second["node_id"] != first["node_id"]
    assert traffic.failures == []


def engines(fleet: Any, target: str) -> dict[int, psutil.Process]:
    """The engine processes below the replicas of the target, by pid."""
    details = ServeApi(fleet.dashboard_url).read().details["applications"][target]["deployments"][target]
    replicas = [psutil.Process(replica["pid"]) for replica in details["replicas"] if replica["state"] == "RUNNING"]
    children = [child for replica in replicas for child in replica.children(recursive=True)]
    return {child.pid: child for child in children if "EngineCore" in " ".join(child.cmdline())}


def test_the_scale_of_a_running_fleet_is_shown_and_changed_without_replacing_an_engine(fleet):
    before = engines(fleet, "llama-8b")
    told = json.loads(fleet.command("scale", "llama-8b", "--max", "2", "--json").stdout)
    assert (told["was"]["max"], told["is"]["max"], told["is"]["running"]) == (1, 2, 1)
    told = json.loads(fleet.command("scale", "llama-8b", "--pause", "--json").stdout)
    assert (told["is"]["scaling"], told["is"]["running"]) == ("paused", 1)
    fleet.command("scale", "llama-8b", "--resume")
    fleet.command("scale", "llama-8b", "--max", "1")
    [shown] = json.loads(fleet.command("scale", "llama-8b", "--json").stdout)["targets"]
    assert (shown["scaling"], shown["min"], shown["max"]) == ("autoscaling", 1, 1)
    assert set(engines(fleet, "llama-8b")) == set(before)


@pytest.mark.proves("fleet status shows the dispatcher that runs on Ray, with its process", how="real")
def test_the_dispatcher_on_ray_is_shown_with_its_process(fleet):
    shown = json.loads(fleet.command("status", "--json").stdout)["dispatchers"]
    assert any(each["on_ray"] and psutil.pid_exists(each["pid"]) for each in shown)


@pytest.mark.proves("A stuck engine is replaced and every job is answered", how="real")
async def test_an_engine_that_is_stuck_is_replaced_and_every_job_is_answered(fleet):
    """SIGSTOP is what a kernel that never returns looks like from outside: alive, and silent for ever."""
    before = await asyncio.to_thread(engines, fleet, "llama-8b")
    assert len(before) == 1
    for process in before.values():
        process.send_signal(signal.SIGSTOP)
    async with PatientClient.connect(fleet.nats_url, tenant="acme") as client:
        results = await asyncio.gather(*(_job(client, deadline_seconds=PATIENCE_SECONDS) for _ in range(24)))
        assert {result.status for result in results} <= {Status.SUCCEEDED, Status.BEST_EFFORT}
        first = [result.attempts[0] for result in results]
        assert {attempt.target for attempt in first} == {"llama-8b"}
        assert all(isinstance(attempt.outcome, Failure) for attempt in first)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not _answered_by("llama-8b", await _job(client)):
                pass  # others answer while it is away
    after = await asyncio.to_thread(engines, fleet, "llama-8b")
    assert len(after) == 1 and not set(after) & set(before)


def _answered_by(target: str, result: Result) -> bool:
    """Whether it gave an answer; whether that one was trusted is the model's affair."""
    return any(attempt.target == target and isinstance(attempt.outcome, Answer) for attempt in result.attempts)


async def _job(client: PatientClient, **options: Any) -> Any:
    [job] = examples("heldout", 6, 1, task="classify.sentiment")
    return await client.run(task=job.task, messages=job.messages, tier="simple", cloud="deny", **options)
