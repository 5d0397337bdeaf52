"""What a fleet tells of itself: Serve's word on its replicas, and a line for every target of the catalogue."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from deployments.serve.api import SERVE_API
from fleet.app import status
from fleet.app.status import (
    DispatcherState,
    ReplicaCounts,
    SpendStatus,
    TargetStatus,
    dispatcher_statuses,
    read_serve,
    read_spend,
    replicas_in,
    replicas_reported,
    target_statuses,
)
from fleet.app.worker import SystemClock, rules_of
from fleet.cli.ops.fleet_status import dispatchers_table, targets_table
from fleet.model.money import Claim, Reservation
from fleet.model.scaling import Capacity, ColdStart, Load, ObservedStart, ProcessName
from fleet.settings.environment import Settings, load
from queues.jetstream.stores.cells import MemoryCells
from queues.jetstream.stores.spend import CellSpendBook

HOST = ProcessName("gpu-1", 4711, 50.0)

APPLICATIONS = {
    "applications": {
        "llama-8b": {
            "status": "RUNNING",
            "message": "",
            "deployments": {
                "model": {"replicas": [{"state": "RUNNING"}, {"state": "RUNNING"}, {"state": "STARTING"}]},
                "front": {"replicas": [{"state": "RUNNING"}]},
            },
        },
        "llama-70b": {"status": "DEPLOY_FAILED", "message": "out of memory", "deployments": {}},
    }
}


class Dashboard(HTTPServer):
    """Answers Serve's REST path with `body`."""

    body = json.dumps(APPLICATIONS).encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Dashboard

    def do_GET(self) -> None:
        self.send_response(200 if self.path == SERVE_API else 404)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with Dashboard(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in os.environ:
        if name.startswith("FLEET_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-invented-0123456789")
    return load()


def read_replicas(url: str) -> Mapping[str, ReplicaCounts] | None:
    instance = read_serve(url)
    return None if isinstance(instance, str) else replicas_in(instance)


def by_name(targets: tuple[TargetStatus, ...]) -> dict[str, TargetStatus]:
    return {target.name: target for target in targets}


@pytest.mark.parametrize("end", ["", "/"])
def test_running_replicas_are_counted_over_all_deployments_of_an_application(dashboard: Dashboard, end: str) -> None:
    assert read_replicas(dashboard.url + end) == {
        "llama-8b": ReplicaCounts("RUNNING", 3, None, 1),
        "llama-70b": ReplicaCounts("DEPLOY_FAILED", 0, "out of memory"),
    }


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"\xff"])
def test_what_is_no_ray_dashboard_counts_as_none(dashboard: Dashboard, body: bytes) -> None:
    dashboard.body = body
    assert read_replicas(dashboard.url) is None


def test_a_dashboard_that_is_not_there_counts_as_none(dashboard: Dashboard) -> None:
    assert read_replicas(dashboard.url + "/elsewhere") is None
    dashboard.shutdown()
    dashboard.server_close()
    assert read_replicas(dashboard.url) is None


def test_a_deployed_target_shows_its_replicas_and_its_work(settings: Settings) -> None:
    found = by_name(
        target_statuses(settings, {"llama-8b": 12}, {"llama-8b": ReplicaCounts("RUNNING", 2, None, 1)}, starts={})
    )
    guess = ColdStart(60.0, 0)
    assert found["llama-8b"] == TargetStatus("llama-8b", "fleet", "running", 2, 12, starting=1, cold_start=guess)
    missing = TargetStatus("llama-70b", "fleet", "not deployed", 0, 0, starting=0, cold_start=guess)
    assert found["llama-70b"] == missing


def test_what_serve_says_of_an_ill_target_is_shown(settings: Settings) -> None:
    ill = {"llama-70b": ReplicaCounts("DEPLOY_FAILED", 0, "out of memory")}
    found = by_name(target_statuses(settings, {}, ill))["llama-70b"]
    assert (found.state, found.replicas, found.message) == ("deploy_failed", 0, "out of memory")


@pytest.mark.parametrize(
    ("replicas", "state", "shown"),
    [
        (ReplicaCounts("RUNNING", 0, None), "cold", "0"),
        (ReplicaCounts("RUNNING", 0, None, 1), "starting", "0 + 1 starting"),
        (ReplicaCounts("RUNNING", 1, None, 2), "running", "1 + 2 starting"),
        (ReplicaCounts("DEPLOYING", 0, None, 1), "deploying", "0 + 1 starting"),
        (ReplicaCounts("UNHEALTHY", 0, None), "unhealthy", "0"),
    ],
)
def test_a_target_without_a_replica_is_cold_until_one_starts(
    settings: Settings, replicas: ReplicaCounts, state: str, shown: str
) -> None:
    found = by_name(target_statuses(settings, {}, {"llama-8b": replicas}))["llama-8b"]
    assert found.state == state
    assert list(targets_table([found]).columns[3].cells) == [shown]


def test_without_a_dashboard_the_models_are_unknown(settings: Settings) -> None:
    found = by_name(target_statuses(settings, {"llama-8b": 3}, None))["llama-8b"]
    assert found == TargetStatus("llama-8b", "fleet", "unknown", None, 3)


def test_how_long_a_start_takes_is_shown_with_what_that_rests_on(settings: Settings) -> None:
    starts = {
        "llama-8b": [ObservedStart(93.0, 1.0), ObservedStart(93.0, 900.0)],
        "mixtral-8x7b": [ObservedStart(60.0, 1.0)],
    }
    found = target_statuses(settings, {}, {}, starts=starts)
    shown = dict(zip((each.name for each in found), targets_table(found).columns[5].cells, strict=True))
    assert shown["llama-8b"] == "93 s, seen 2 times" and shown["mixtral-8x7b"] == "60 s, seen once"
    assert shown["llama-70b"] == "configured 60 s, never seen" and shown["gpt-4o"] == "-"


def report(name: str = "a1b2c3d4e5", at: float = 100.0, **said: Any) -> Load:
    usual: dict[str, Any] = {"serves": frozenset({"llama-8b", "gpt-4o"}), "process": HOST, "held": 4}
    return Load(name, at, **{**usual, **said})


@pytest.mark.proves(
    "A target whose calls fail is said to fail by fleet status before Serve calls it unhealthy", how="stand-in"
)
def test_a_target_whose_calls_fail_says_so_while_serve_still_says_that_it_runs(settings: Settings) -> None:
    loads = [report(shut={"llama-8b": 160.0}), report("b7", serves=frozenset({"llama-8b"}))]
    running = {"llama-8b": ReplicaCounts("RUNNING", 1, None)}
    found = by_name(target_statuses(settings, {}, running, loads, 101.0))["llama-8b"]
    assert (found.state, found.breaker) == ("running", "until 00:02:40 at 1 of 2 dispatchers")
    assert list(targets_table([found]).columns[-1].cells) == [
        "calls fail: breaker open until 00:02:40 at 1 of 2 dispatchers"
    ]


@pytest.mark.parametrize(
    ("load", "now", "state"),
    [
        (report(), 101.0, DispatcherState.SERVING),
        (report(), 116.0, DispatcherState.SILENT),
        (report(serves=frozenset()), 101.0, DispatcherState.DRAINING),
        (report(serves=frozenset(), held=0), 101.0, DispatcherState.STOPPED),
        (report(serves=frozenset(), held=0), 150.0, DispatcherState.STOPPED),
        (report(serves=None, process=None), 101.0, DispatcherState.SERVING),
    ],
)
def test_a_dispatcher_is_what_its_last_report_and_its_age_say(load: Load, now: float, state: DispatcherState) -> None:
    [found] = dispatcher_statuses([load], now)
    assert (found.name, found.state, found.age_seconds) == ("a1b2c3d4", state, now - 100.0)


def test_a_dispatcher_names_its_process_and_what_it_holds() -> None:
    on_ray, plain, old = report("1"), report("2", replicas_at=None), report("3", process=None)
    found = dispatcher_statuses([replace(on_ray, replicas_at=99.0), plain, old], 100.5)
    rows = [[list(column.cells)[row] for column in dispatchers_table(found).columns] for row in range(3)]
    assert rows == [
        ["3", "of an older version", "serving", "-", "2", "0%", "0 s ago"],
        ["1", "gpu-1 pid 4711, on Ray", "serving", "4", "2", "0%", "0 s ago"],
        ["2", "gpu-1 pid 4711, a process of its own", "serving", "4", "2", "0%", "0 s ago"],
    ]


def test_where_the_dashboard_does_not_answer_the_replicas_are_those_that_a_dispatcher_saw() -> None:
    older = report("older", replicas={"llama-8b": Capacity(9)}, replicas_at=90.0)
    newer = report("newer", replicas={"llama-8b": Capacity(1, 2)}, replicas_at=98.0)
    gone = report("gone", at=60.0, replicas={"llama-8b": Capacity(7)}, replicas_at=99.0)
    assert replicas_reported([older, newer, gone], 101.0) == (
        {"llama-8b": ReplicaCounts("RUNNING", 1, None, 2)},
        "as dispatcher newer saw them 3 s ago",
    )
    assert replicas_reported([report()], 101.0) is None


def test_a_cloud_target_is_ready_with_a_key_and_names_the_variable_without(settings: Settings) -> None:
    found = by_name(target_statuses(settings, {"gpt-4o": 5}, {}))
    assert found["gpt-4o"] == TargetStatus("gpt-4o", "openai", "ready", None, 5)
    missing = "set ANTHROPIC_API_KEY"
    assert found["claude-sonnet"] == TargetStatus("claude-sonnet", "anthropic", "no key", None, 0, missing)


async def test_the_money_of_the_day_is_shown_for_the_fleet_and_for_every_tenant_with_a_limit(
    settings: Settings,
) -> None:
    rules = replace(rules_of(settings).money, tenants={"acme": 5.0})
    cells = MemoryCells()
    assert await read_spend(cells, rules) == (SpendStatus(None, 0.0, 0.0, 50.0),)
    book = CellSpendBook(cells, SystemClock(), rules.open_seconds)
    claims = [Claim(tenant, nano, 10**12) for tenant, nano in (("acme", 10**9), ("acme", 2 * 10**9), ("beta", 10**9))]
    reservations = await book.reserve(claims)
    for reservation in reservations[1:]:
        assert isinstance(reservation, Reservation)
        book.settle(reservation, 500_000_000)
    await book.close()
    assert await read_spend(cells, rules) == (
        SpendStatus(None, 1.0, 1.0, 50.0),
        SpendStatus("acme", 0.5, 1.0, 5.0),
    )


def test_a_dashboard_that_is_slow_is_said_to_be_slow_and_not_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "TIMEOUT_SECONDS", 0.1)
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        said = read_serve(f"http://127.0.0.1:{slow.getsockname()[1]}")
    assert isinstance(said, str) and "has not answered within 0.1 s: its machine is busy, or it is stuck" in said
