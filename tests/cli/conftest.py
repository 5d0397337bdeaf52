"""The command line against a fleet in memory: `fleet.app` is replaced, everything below it is real."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main
import typer.testing
from fake_app import App
from typer.testing import CliRunner, Result

from fleet.app import (
    evidence_on,
    load_calibrations,
    login_of,
    read_experiment,
    register_adapter,
    rules_of,
    save_calibrations,
)
from fleet.cli.commands import app

FAKED = (
    "open_desk",
    "open_batches",
    "open_journal",
    "open_ledger_feed",
    "open_dead_letters",
    "open_calibrations",
    "open_keys",
    "open_cache",
    "open_cache_promises",
    "open_experiments",
    "open_adapters",
    "open_turns",
    "shipped_calibrations",
    "start",
    "read_status",
    "apply_topology",
    "run_dispatcher",
)
"""What of `fleet.app` needs a fleet."""

REAL = (
    login_of,
    rules_of,
    load_calibrations,
    save_calibrations,
    read_experiment,
    evidence_on,
    register_adapter,
)
"""What of it needs none."""


@pytest.fixture(autouse=True, scope="session")
def parser_built_once() -> Iterator[None]:
    """Typer's runner builds all parsers anew for each invocation, which takes longer than most commands do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def fake_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> App:
    for name in os.environ:
        if name.startswith("FLEET_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLEET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    fake = App()
    module = ModuleType("fleet.app")
    for name in FAKED:
        setattr(module, name, getattr(fake, name))
    for real in REAL:
        setattr(module, real.__name__, real)
    monkeypatch.setitem(sys.modules, "fleet.app", module)
    console = ModuleType("fleet.console.serving")
    console.serving = fake.serving_console  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fleet.console.serving", console)
    gateway = ModuleType("fleet.gateway.serving")
    gateway.serving = fake.serving_gateway  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fleet.gateway.serving", gateway)
    return fake


@pytest.fixture
def invoke(fake_app: App) -> Callable[..., Result]:
    """Runs the command line; `stdin` is what it reads."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin)

    return run


@pytest.fixture
def invoke_json(invoke: Callable[..., Result]) -> Callable[..., dict[str, Any]]:
    """Runs a command with --json and reads the one line that it prints."""

    def run(*arguments: str, exit_code: int = 0, stdin: str | None = None) -> dict[str, Any]:
        result = invoke(*arguments, "--json", stdin=stdin)
        assert result.exit_code == exit_code, result.output
        [line] = result.stdout.splitlines()
        parsed: dict[str, Any] = json.loads(line)
        return parsed

    return run
