"""docs/operations.md names only commands, options, files and variables that there are; nothing of it is executed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer._click.core import Command
from typer._click.exceptions import UsageError
from typer.core import TyperGroup

from deployments import health
from fleet.cli.commands import app
from fleet.providers.keys import EnvironmentKeyRing
from fleet.settings.environment import FILE_VARIABLE, PREFIX, Settings
from queues.server.permissions import fleet_users

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()

FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
PROSE = FENCE.sub("", RUNBOOK)
INLINE = re.findall(r"`([^`\n]+)`", PROSE)

MACHINE_ROOTS = ("~", "/", "http:", "https:")
"""Where a path is not one of the repository."""

PATHS = sorted(
    set(re.findall(r"(?<![\w/~.-])(?:deployments|policies|fleet|queues|tests|docs)/[\w./-]*\w", RUNBOOK))
    | set(re.findall(r"\b[\w-]+\.yaml\b(?<!profiles\.yaml)", " ".join(text for text in INLINE if "/" not in text)))
)
LINKS = sorted(set(re.findall(r"\]\(([^)]+)\)", RUNBOOK)))
VARIABLES = sorted(set(re.findall(r"\bFLEET_[A-Z_]*[A-Z](?![A-Z_<])", RUNBOOK)))


def commands() -> Iterator[str]:
    """Every `fleet ...` line of the blocks of commands and of the prose."""
    blocks = "\n".join(text for language, text in FENCE.findall(RUNBOOK) if language == "sh")
    for line in [*blocks.replace("\\\n", " ").splitlines(), *INLINE]:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words[:1] == ["fleet"]:
            yield shlex.join(words)


COMMANDS = sorted(set(commands()))


def parse(words: list[str]) -> None:
    """Raises UsageError where a command, an option or the form of a value is not known."""
    command: Command = typer.main.get_command(app)
    context = typer.Context(command, info_name="fleet")
    while isinstance(command, TyperGroup):
        if not words:
            return
        found = command.get_command(context, words[0])
        if found is None:
            raise UsageError(f"no command {words[0]!r}")
        command, words = found, words[1:]
    if words:
        command.make_context(command.name, list(words))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_of_the_runbook_is_understood(line: str) -> None:
    words = shlex.split(line.replace("<target>", "llama-8b"))
    parse(words[1:])


@pytest.mark.parametrize("line", ["fleet scael", "fleet scale llama-8b --minimum 1", "fleet dead list --reason tired"])
def test_a_command_line_that_nobody_understands_is_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        parse(shlex.split(line)[1:])


@pytest.mark.parametrize("path", PATHS)
def test_every_file_the_runbook_names_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("link", LINKS)
def test_every_link_of_the_runbook_leads_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    text = (ROOT / "docs" / path).read_text() if path else RUNBOOK
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.M)}
    assert not anchor or anchor in headings


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_of_the_runbook_is_read(variable: str) -> None:
    fields = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    passwords = {user.variable for user in fleet_users()}
    assert variable in {FILE_VARIABLE, health.VARIABLE, *fields, *passwords}


def test_a_tenants_key_has_the_name_of_the_runbook() -> None:
    assert "`FLEET_KEY_<PROVIDER>_<tenant>__<name>`" in RUNBOOK
    assert EnvironmentKeyRing({"FLEET_KEY_OPENAI_acme__main": "invented"}).has_tenants_keys("openai")


def test_the_first_table_leads_to_every_chapter() -> None:
    chapters = re.findall(r"^## (.+)$", RUNBOOK, re.M)
    table = RUNBOOK.split("## ", 1)[0]
    assert re.findall(r"\| \[([^]]+)\]", table) == chapters
