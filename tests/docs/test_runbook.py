"""docs/how-to/operations.md names only commands, files and variables that there are; nothing of it is executed."""

from __future__ import annotations

import re
import shlex

import pytest
from pages import ROOT, blocks, command_lines, inline_code, parse
from typer._click.exceptions import UsageError

from deployments.replica import health
from fleet.providers.keys import EnvironmentKeyRing
from fleet.settings.environment import FILE_VARIABLE, PREFIX, Settings
from fleet.webhooks.signing import KEY_VARIABLE
from queues.server.permissions import fleet_users

PAGE = ROOT / "docs" / "how-to" / "operations.md"
RUNBOOK = PAGE.read_text()

SHELL = "\n".join(block.text for block in blocks(PAGE) if block.language == "sh")
COMMANDS = sorted(
    {shlex.join(words) for text in (SHELL, "\n".join(inline_code(PAGE))) for words in command_lines(text)}
)
FILES = sorted(
    set(re.findall(r"\b[\w-]+\.yaml\b(?<!profiles\.yaml)", " ".join(c for c in inline_code(PAGE) if "/" not in c)))
)
VARIABLES = sorted(set(re.findall(r"\bFLEET_[A-Z_]*[A-Z](?![A-Z_<])", RUNBOOK)))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_of_the_runbook_is_understood(line: str) -> None:
    parse(shlex.split(line.replace("<target>", "llama-8b")))


@pytest.mark.parametrize("line", ["fleet scael", "fleet scale llama-8b --minimum 1", "fleet dead list --reason tired"])
def test_a_command_line_that_nobody_understands_is_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        parse(shlex.split(line))


@pytest.mark.parametrize("name", FILES)
def test_every_file_the_runbook_names_without_its_folder_is_at_the_root(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_of_the_runbook_is_read(variable: str) -> None:
    fields = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    passwords = {user.variable for user in fleet_users()}
    assert variable in {FILE_VARIABLE, health.VARIABLE, KEY_VARIABLE, *fields, *passwords}


def test_a_tenants_key_has_the_name_of_the_runbook() -> None:
    assert "`FLEET_KEY_<PROVIDER>_<tenant>__<name>`" in RUNBOOK
    assert EnvironmentKeyRing({"FLEET_KEY_OPENAI_acme__main": "invented"}).has_tenants_keys("openai")


def test_the_first_table_leads_to_every_chapter() -> None:
    chapters = re.findall(r"^## (.+)$", RUNBOOK, re.M)
    table = RUNBOOK.split("## ", 1)[0]
    assert re.findall(r"\| \[([^]]+)\]", table) == chapters
