from __future__ import annotations

import asyncio

import pytest

from deployments.host import WorkerHost, resolve
from fleet.model.errors import ConfigError


class Worker:
    """Runs until drained, or ends at once as told."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.finished = False

    async def run(self) -> None:
        await self.draining.wait()
        self.finished = True

    async def drain(self) -> None:
        self.draining.set()


class Broken(Worker):
    async def run(self) -> None:
        raise ConnectionError("no broker")


HERE = "hosted_workers"


@pytest.fixture
def hosted(monkeypatch):
    """A module whose functions make workers, importable by name; the workers made are kept."""
    import sys
    from types import ModuleType

    made: list[Worker] = []

    def maker(kind: type[Worker]):
        def make() -> Worker:
            made.append(kind())
            return made[-1]

        return make

    module = ModuleType(HERE)
    module.working, module.broken, module.number = maker(Worker), maker(Broken), 3
    monkeypatch.setitem(sys.modules, HERE, module)
    return made


async def test_a_running_worker_is_healthy_and_drains_when_stopped(hosted):
    host = WorkerHost(f"{HERE}:working")
    await host.check_health()
    assert not hosted[0].finished
    await host.stop()
    assert hosted[0].finished


async def test_a_worker_that_died_makes_the_replica_unhealthy_and_says_why(hosted):
    host = WorkerHost(f"{HERE}:broken")
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="ended") as caught:
        await host.check_health()
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_a_worker_that_ended_by_itself_is_unhealthy_too(hosted):
    host = WorkerHost(f"{HERE}:working")
    await hosted[0].drain()
    await host.stop()
    with pytest.raises(RuntimeError, match="ended"):
        await host.check_health()


async def test_stopping_a_dead_worker_does_not_drain_it(hosted):
    host = WorkerHost(f"{HERE}:broken")
    await asyncio.sleep(0)
    await host.stop()
    assert not hosted[0].draining.is_set()


@pytest.mark.parametrize("path", ["nowhere_at_all:f", f"{HERE}:missing", f"{HERE}:number", HERE, "", ":f"])
def test_a_factory_that_cannot_be_called_is_named(hosted, path):
    with pytest.raises(ConfigError, match="factory"):
        resolve(path)
