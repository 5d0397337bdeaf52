"""`fleet up`, its gateway and its console start, say where they are, and end on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.model.errors import BackendUnavailable, ConfigError, FleetError

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_shows_where_everything_is_and_stops_it_on_a_signal(
    invoke: Invoke, fake_app: App, number: signal.Signals
) -> None:
    fake_app.after_start = lambda: os.kill(os.getpid(), number)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup
    result = invoke("up")
    assert result.exit_code == 0
    assert "NATS       nats://127.0.0.1:4222" in result.stdout
    assert "dashboard  http://127.0.0.1:8265" in result.stdout
    assert "metrics    /fleet/metrics/*.json" in result.stdout
    assert "console    http://127.0.0.1:8270/login#a-token" in result.stdout
    assert "gateway    http://127.0.0.1:8280/v1" in result.stdout
    assert "note: no cloud keys" in result.stdout
    assert fake_app.calls == ["start", "stop"]
    assert result.stderr.count("· stopping: ") == 1 and result.stderr.endswith("· stopped\n")


def test_the_json_of_up_is_where_everything_is(invoke_json: InvokeJson, fake_app: App) -> None:
    fake_app.after_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert invoke_json("up") == {
        "nats_url": "nats://127.0.0.1:4222",
        "dashboard_url": "http://127.0.0.1:8265",
        "openai_url": None,
        "ledger_url": None,
        "metrics_discovery": "/fleet/metrics",
        "console_url": "http://127.0.0.1:8270/login#a-token",
        "gateway_url": "http://127.0.0.1:8280/v1",
        "targets": ["llama-8b", "gpt-4o"],
        "notes": ["no cloud keys"],
    }


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (ConfigError("FLEET_CONSOLE_PORT", "is taken"), "note: no console: FLEET_CONSOLE_PORT: is taken"),
        (ModuleNotFoundError(name="starlette"), "note: no console: the console needs starlette: pip install"),
    ],
)
def test_a_fleet_whose_console_does_not_start_is_up_and_says_why(
    invoke: Invoke, fake_app: App, error: Exception, note: str
) -> None:
    fake_app.console_error = error
    fake_app.after_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    result = invoke("up")
    assert result.exit_code == 0 and note in result.stdout and "\nconsole" not in result.stdout


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (ConfigError("FLEET_GATEWAY_PORT", "is taken"), "note: no gateway: FLEET_GATEWAY_PORT: is taken"),
        (ModuleNotFoundError(name="fastapi"), "note: no gateway: the gateway needs fastapi: pip install"),
    ],
)
def test_a_fleet_whose_gateway_does_not_start_is_up_and_says_why(
    invoke: Invoke, fake_app: App, error: Exception, note: str
) -> None:
    fake_app.gateway_error = error
    fake_app.after_start = lambda: os.kill(os.getpid(), signal.SIGTERM)
    result = invoke("up")
    assert result.exit_code == 0 and note in result.stdout and "\ngateway" not in result.stdout


def test_the_gateway_shows_where_it_is_and_stops_on_a_signal(
    invoke: Invoke, fake_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.Event, "wait", lambda self: asyncio.sleep(0, os.kill(os.getpid(), signal.SIGTERM)))
    result = invoke("gateway", "run")
    assert result.exit_code == 0
    assert result.stdout == "gateway    http://127.0.0.1:8280/v1\nCtrl-C stops it.\n"


def test_the_console_shows_where_it_is_and_stops_on_a_signal(
    invoke: Invoke, fake_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_RAY_DASHBOARD_URL", "http://127.0.0.1:8265")
    monkeypatch.setattr(asyncio.Event, "wait", lambda self: asyncio.sleep(0, os.kill(os.getpid(), signal.SIGTERM)))
    result = invoke("console")
    assert result.exit_code == 0
    assert result.stdout == "console    http://127.0.0.1:8270/login#a-token\nCtrl-C stops it.\n"


@pytest.mark.proves("Ctrl-C while fleet up starts ends the start", how="stand-in")
def test_a_signal_while_starting_ends_the_start(invoke: Invoke, fake_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(settings: object, on_progress: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(sys.modules["fleet.app"], "start", never)
    result = invoke("up")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0].startswith("· log: /") and lines[0].endswith("/fleet.log")
    assert lines[1].startswith("· stopping: calls that run are finished") and lines[2:] == ["· stopped"]
    assert fake_app.calls == []


@pytest.mark.proves("A fleet that cannot go on ends with one line that says why", how="stand-in")
def test_a_fleet_that_cannot_go_on_is_stopped_and_says_why(invoke: Invoke, fake_app: App) -> None:
    fake_app.failure = FleetError("nats-server ended with exit code 1, 6 times in a row")
    result = invoke("up")
    assert result.exit_code == 1
    assert result.stderr.endswith("fleet: nats-server ended with exit code 1, 6 times in a row\n")
    assert fake_app.calls == ["start", "stop"]


@pytest.mark.proves("A second Ctrl-C ends a fleet at once that does not stop", how="stand-in")
def test_a_second_signal_ends_at_once_what_does_not_stop(
    invoke: Invoke, fake_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    async def hang() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr("fleet.cli.ops.running.os", SimpleNamespace(_exit=end))
    monkeypatch.setattr(fake_app, "stop", hang)
    fake_app.after_start = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert invoke("up").exit_code == 130


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (BackendUnavailable("llama-8b did not start"), "a model cannot be reached: llama-8b did not start"),
        (ConfigError("rules.phase", "must be one of phase1"), "wrong setting: rules.phase: must be one of phase1"),
    ],
)
def test_up_that_fails_says_so_in_one_line(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: Exception, advice: str
) -> None:
    async def refuse(settings: object, on_progress: object) -> None:
        raise error

    monkeypatch.setattr(sys.modules["fleet.app"], "start", refuse)
    result = invoke("up")
    assert (result.exit_code, result.stderr.splitlines()[1:]) == (1, [f"fleet: {advice}"])
