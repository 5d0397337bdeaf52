"""docs/reference/commands.md lists every command of `fleet` and every documented target of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
from pages import PAGES, ROOT, command_lines, inline_code, name_of, parse

from fleet.cli.commands import app

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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_named_in_a_sentence_is_understood(page: Path) -> None:
    for words in command_lines("\n".join(inline_code(page))):
        if "|" not in words:
            parse(words)
