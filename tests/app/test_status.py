"""What a fleet tells of itself: Serve's word on its replicas, and a line for every target of the catalogue."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from deployments.serve.api import SERVE_API
from fleet.app.status import (
    ReplicaCounts,
    SpendStatus,
    TargetStatus,
    read_serve,
    read_spend,
    replicas_in,
    target_statuses,
)
from fleet.app.worker import SystemClock, rules_of
from fleet.cli.ops.fleet_status import targets_table
from fleet.model.money import Claim, Reservation
from fleet.settings.environment import Settings, load
from queues.jetstream.stores.cells import MemoryCells
from queues.jetstream.stores.spend import CellSpendBook

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
    return None if instance is None else replicas_in(instance)


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
    found = by_name(target_statuses(settings, {"llama-8b": 12}, {"llama-8b": ReplicaCounts("RUNNING", 2, None, 1)}))
    assert found["llama-8b"] == TargetStatus("llama-8b", "fleet", "running", 2, 12, starting=1)
    assert found["llama-70b"] == TargetStatus("llama-70b", "fleet", "not deployed", 0, 0, starting=0)


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
    assert found == TargetStatus("llama-8b", "fleet", "unknown", None, 3, "the Ray dashboard does not answer")


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
