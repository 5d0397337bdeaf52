"""Every command and program of docs/how-to/cost-reports.md runs as it stands on a ledger of a few days."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path

import pytest
from accounts import Accounts, JobOf, call
from pages import ROOT, blocks, command_lines
from typer.testing import CliRunner

from fleet.cli.commands import app
from fleet.reports.cost import BY
from fleet.reports.shares import LEAST_JUDGED, MARGIN
from fleet.settings.documents import shipped

PAGE = ROOT / "docs" / "how-to" / "cost-reports.md"
TEXT = " ".join(PAGE.read_text().split())
COMMANDS = [
    shlex.join(words[1:]) for block in blocks(PAGE) if block.language == "sh" for words in command_lines(block.text)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty_connections: None) -> Path:
    """A folder with a ledger whose first day is archived, a price list, and no broker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLEET_DATA_DIR", raising=False)
    monkeypatch.setenv("FLEET_NATS_URL", "nats://127.0.0.1:1")
    accounts = Accounts(tmp_path / ".fleet")
    for day in range(2):
        accounts.book(day, JobOf().lines(day, call("small")))
    accounts.archive()
    catalogue = shipped("deployments", "catalogue.yaml").read_text()
    (tmp_path / "prices-2025.yaml").write_text(catalogue.replace("prices_as_of: 2026-11", "prices_as_of: 2025-11"))
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(line: str, here: Path) -> None:
    done = CliRunner().invoke(app, shlex.split(line))
    assert done.exit_code == 0, done.output


def test_the_program_of_the_page_adds_up_a_day(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [program] = [block.text for block in blocks(PAGE) if block.language == "python"]
    (here / "program.py").write_text(program)
    runpy.run_path(str(here / "program.py"))
    assert "'target': 'small', 'cost_nano_usd_sum': 200000" in capsys.readouterr().out


def test_the_page_has_everything_that_costs_can_be_grouped_by() -> None:
    assert [name for name in BY if f"`{name}`" not in TEXT] == []


def test_the_page_states_the_margins_that_are_used() -> None:
    assert f"at most {100 * MARGIN:.0f} points less often" in TEXT
    assert f"at least {LEAST_JUDGED} judged answers" in TEXT
