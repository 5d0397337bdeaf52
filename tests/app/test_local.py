"""Starting the whole fleet: what its replicas are told, where it listens, and what stops it before it begins."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ledger_lines import entry
from patience import eventually
from typer.testing import CliRunner

from fleet.app import apply_topology
from fleet.app.local import parts
from fleet.app.local.parts import environment
from fleet.app.local.ports import Ports
from fleet.batches.wishes import new_batch_id
from fleet.cli.commands import app
from fleet.ledger.reading import open_reader
from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import ConfigError, LedgerUnavailable
from fleet.settings.environment import Settings, load
from queues.batches import JetStreamShelf, TenantBatches
from queues.jetstream.client.connection import connect
from queues.jetstream.queue import JetStreamQueue
from queues.server.embedded import EmbeddedServer

PORTS = ("FLEET_NATS_PORT", "FLEET_HTTP_PORT", "FLEET_DASHBOARD_PORT", "FLEET_CONSOLE_PORT", "FLEET_GATEWAY_PORT")


@pytest.fixture(autouse=True)
def setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with no setting of ours but the data directory."""
    for name in os.environ:
        if name.startswith("FLEET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLEET_DATA_DIR", str(tmp_path / "data"))
    return monkeypatch


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    """The descriptor that the parts of a fleet inherit."""
    with (tmp_path / "lock").open("w") as file:
        yield file.fileno()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.proves("A model's replica is given no provider's key", how="lint", subject="Security")
def test_the_replicas_are_told_what_the_dispatcher_needs_and_no_more() -> None:
    settings = load(lease_seconds=7.5, log_level="error")
    assert environment(settings, "nats://127.0.0.1:4223") == {
        "FLEET_NATS_URL": "nats://127.0.0.1:4223",
        "FLEET_PROFILE": "local",
        "FLEET_LEASE_SECONDS": "7.5",
        "FLEET_LOG_LEVEL": "error",
        "FLEET_METRICS_HOST": "127.0.0.1",
        "FLEET_METRICS_PORT": "9464",
        "FLEET_METRICS_DISCOVERY": str(settings.data_dir.absolute() / "metrics"),
    }


def test_a_replica_finds_a_file_that_was_named_relative_to_our_directory(
    setting: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").touch()
    setting.chdir(tmp_path)
    told = environment(load(rules_path="rules.yaml"), "nats://127.0.0.1:4222")
    assert told["FLEET_RULES_PATH"] == str(tmp_path / "rules.yaml")


def test_wanted_ports_are_kept_and_the_others_are_free_and_distinct() -> None:
    ports = Ports.of(load(nats_port=0, http_port=8123, dashboard_port=0, console_port=0, gateway_port=0))
    assert ports.http == 8123
    assert len({0, ports.nats, ports.http, ports.dashboard}) == 4


@pytest.mark.usefixtures("hasty_connections")
@pytest.mark.parametrize("command", ["up", "demo"])
def test_without_the_engines_the_line_says_what_to_install(setting: pytest.MonkeyPatch, command: str) -> None:
    setting.setitem(sys.modules, "ray", None)
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last == "fleet: models need Ray and vLLM on this machine: pip install 'inference-fleet[cpu]'"


@pytest.mark.proves("A taken port is named with the variable that changes it, before anything starts", how="real")
@pytest.mark.parametrize("variable", PORTS)
def test_a_port_that_is_taken_is_named_with_its_variable_before_anything_starts(
    variable: str, taken_port: int, setting: pytest.MonkeyPatch
) -> None:
    for each in PORTS:
        setting.setenv(each, "0")
    setting.setenv(variable, str(taken_port))
    result = CliRunner().invoke(app, ["up"])
    assert result.exit_code == 1
    rule = "stop what listens there, or choose another (0: any free one)"
    assert result.stderr.endswith(f"\nfleet: wrong setting: {variable}: port {taken_port} is taken: {rule}\n")
    assert "starting" not in result.stderr


@pytest.mark.proves("All ports that are taken are named in one line, the console's and gateway's too", how="real")
def test_all_ports_that_are_taken_are_named_at_once(taken_port: int) -> None:
    free = {"http_port": 0, "dashboard_port": 0}
    settings = load(nats_port=taken_port, console_port=taken_port, gateway_port=taken_port, **free)
    with pytest.raises(ConfigError) as refused:
        Ports.of(settings)
    names = "FLEET_NATS_PORT, FLEET_CONSOLE_PORT, FLEET_GATEWAY_PORT"
    assert str(refused.value).startswith(f"{names}: ports {taken_port}, {taken_port}, {taken_port} are taken: stop")


@pytest.mark.proves("A full disk is named, with its folder, before anything starts", how="stand-in")
def test_a_full_disk_is_named_before_anything_starts(setting: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=3_000_000))
    result = CliRunner().invoke(app, ["up"])
    rule = "3 MB are free, and a fleet needs 64 MB to start; make room, or set FLEET_DATA_DIR"
    assert result.stderr.splitlines() == [
        f"· log: {tmp_path}/data/fleet.log",
        f"fleet: the disk of {tmp_path}/data is full: {rule}",
    ]


def test_a_port_that_is_not_needed_may_be_taken(taken_port: int) -> None:
    free = {"http_port": 0, "console_port": 0, "gateway_port": 0}
    elsewhere = load(nats_url="nats://127.0.0.1:4222", nats_port=taken_port, dashboard_port=taken_port, **free)
    assert Ports.of(elsewhere.model_copy(update={"dashboard": False})).nats == taken_port


async def test_the_ledgers_writer_is_a_process_of_its_own_that_ends_when_all_is_written(
    setting: pytest.MonkeyPatch, tmp_path: Path, lock: int
) -> None:
    """It ends after the dispatcher, whose last lines come while it drains; Ctrl-C in a terminal does not reach it."""
    setting.setenv("FLEET_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/another_fleets")
    settings = load().model_copy(update={"ledger_url": None})
    with EmbeddedServer(tmp_path / "nats") as nats:
        await apply_topology(nats.url)
        connection = await connect(nats.url)
        writer = parts.ledger_writer(settings, nats.url, lock)
        await writer.start()
        queue = JetStreamQueue(connection)
        await queue.publish([entry(0)])
        await eventually(lambda: written(settings) == 1)
        await queue.publish([entry(number) for number in range(1, 1500)])
        await writer.stop()
        await connection.close()
    assert written(settings) == 1500


async def test_the_runner_of_batches_is_a_process_of_its_own(tmp_path: Path, lock: int) -> None:
    with EmbeddedServer(tmp_path / "nats") as nats:
        await apply_topology(nats.url)
        connection = await connect(nats.url)
        batches = TenantBatches(JetStreamShelf(connection), "acme")
        batch = Batch(new_batch_id(), "acme", "/v1/chat/completions", f"file-{'0' * 24}", 60.0, time.time())
        await batches.create(batch)
        runner = parts.batch_runner(load(), nats.url, lock)
        await runner.start()
        [*_, last] = [each async for each in batches.watch(batch.id)]
        await runner.stop()
        await connection.close()
    assert last.status is BatchStatus.FAILED


def written(settings: Settings) -> int:
    try:
        with open_reader(settings.ledger_address) as reader:
            return reader.lines()
    except LedgerUnavailable:  # nothing is there yet
        return 0
