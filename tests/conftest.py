"""Fixtures every part of the suite may use, and the order in which several processes share it."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from fault_server import FaultServer
from hypothesis import HealthCheck, settings
from patience import PATIENCE_SECONDS
from xdist.scheduler import LoadFileScheduling

from benchmarks.postgres import NoPostgres, PostgresServer
from queues.jetstream.client import connection

# How long an example may take, or its data to be drawn, says something of the machine and nothing of the law.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# Ten thousand tests are millions of objects that stay: the collector walks them while they are made, and finds nothing.
gc.disable()

ENGINES = "tests/e2e"
"""Its tests use one Ray with three engines, which take minutes to start and 10 GiB of memory: one process runs them."""

OWN_RAY = f"{ENGINES}/test_autoscaler.py"
"""Starts a Ray of its own, and mostly waits for it: another process does that meanwhile."""


class EnginesInOneProcess(LoadFileScheduling):
    """The tests of a file run in one process, and so do all those that use the engines."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return ENGINES if file.startswith(f"{ENGINES}/") and file != OWN_RAY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> EnginesInOneProcess | None:
    return EnginesInOneProcess(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: the engines, then other whole processes; the rest fills the gaps."""
    items.sort(key=_rank)


def pytest_collection_finish() -> None:
    """Let the collector look at what tests make, and never again at the tests and the modules."""
    gc.freeze()
    gc.enable()


def _rank(item: pytest.Item) -> int:
    return 0 if item.nodeid.startswith(f"{ENGINES}/") else 1 if item.get_closest_marker("e2e") else 2


def pytest_runtest_teardown() -> None:
    """Leave structlog as a process finds it: whoever captures its lines, or configures it, does so for one test."""
    structlog.reset_defaults()


@pytest.fixture(autouse=True, scope="session")
def patient_connections() -> Iterator[None]:
    """A broker that shares the machine with all the rest may take longer than a user would want to be kept waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "DEFAULT_TIMEOUT_SECONDS", PATIENCE_SECONDS / 10)
        yield


@pytest.fixture
def hasty_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of a broker that is not there."""
    monkeypatch.setattr(connection, "DEFAULT_TIMEOUT_SECONDS", 0.2)


@pytest.fixture
async def fault_server() -> AsyncIterator[FaultServer]:
    """A provider on loopback that answers well, or fails as scripted."""
    async with FaultServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of a process; each makes a database of its own in it. CI has it, a laptop may not."""
    try:
        started = PostgresServer().__enter__()
    except NoPostgres as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    yield started
    started.__exit__(None, None, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.database()
