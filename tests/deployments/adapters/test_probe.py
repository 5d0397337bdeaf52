"""The command that probes an adapter: real losses of a real model, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from standin_chats import write_chats
from typer.testing import CliRunner

from deployments.adapters.base import Base
from deployments.adapters.layout import read_adapter
from deployments.adapters.losses import eased
from fleet.cli import app


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chats(tmp_path_factory.mktemp("others") / "others.jsonl", seed=2)


def test_what_was_trained_on_got_easier(base: Base, trained: Path, data: Path) -> None:
    [gained] = eased(base, read_adapter(trained), [data])
    assert len(gained) == 20
    assert sum(gained) / 20 > 0.005


def test_a_probe_says_what_it_found_with_its_interval(trained: Path, data: Path, others: Path) -> None:
    probe = ["adapters", "probe", str(trained), "--members", str(data), "--others", str(others)]
    ran = CliRunner().invoke(app, [*probe, "--json"])
    found = json.loads(ran.stdout)
    assert (found["members"], found["others"], found["limit"]) == (20, 20, 0.6)
    assert 0.0 <= found["low"] <= found["auc"] <= found["high"] <= 1.0
    assert (ran.exit_code == 0) is (found["verdict"] == "at_chance")


def test_rows_that_are_in_both_files_are_refused(trained: Path, data: Path) -> None:
    probe = ["adapters", "probe", str(trained), "--members", str(data), "--others", str(data)]
    refused = CliRunner().invoke(app, probe)
    assert refused.exit_code == 1
    assert "chats.jsonl, line 1: must not be in" in refused.stderr
