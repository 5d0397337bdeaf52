"""docs/reference/commands.md lists every command of `fleet` and every documented target of the Makefile."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main
from pages import PAGES, ROOT, command_lines, inline_code, name_of, parse

from fleet.app.status import DispatcherStatus, FleetStatus, SpendStatus, TargetStatus
from fleet.cli.commands import app
from fleet.model.scaling import ColdStart

PAGE = ROOT / "docs" / "reference" / "commands.md"
LISTED = {tuple(words[:2]) for words in command_lines("\n".join(inline_code(PAGE)))}
COMMANDS = sorted(typer.main.get_group(app).commands)
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_listed(name: str) -> None:
    assert ("fleet", name) in LISTED


@pytest.mark.parametrize("name", sorted({*TARGETS} - {"help", "lock", "clean", "format"}))
def test_every_target_for_users_is_listed(name: str) -> None:
    assert ("make", name) in LISTED


def test_every_field_of_the_json_of_fleet_status_is_told() -> None:
    chapter = PAGE.read_text().split("## `fleet status --json`")[1].split("\n## ")[0]
    told = set(re.findall(r"`([a-z_]+)`", chapter))
    parts = (FleetStatus, TargetStatus, DispatcherStatus, SpendStatus, ColdStart)
    assert {field.name for part in parts for field in fields(part)} - told == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_named_in_a_sentence_is_understood(page: Path) -> None:
    for words in command_lines("\n".join(inline_code(page))):
        if "|" not in words:
            parse(words)
