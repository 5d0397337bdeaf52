"""The pages of the documentation: their blocks, links, headings, and the command lines that they show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import typer.main
from typer._click.core import Command
from typer._click.exceptions import UsageError
from typer.core import TyperGroup

from fleet.cli.commands import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `name` gives its page and its number there."""

    name: str
    language: str
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    found = _FENCE.findall(page.read_text())
    return [Block(f"{name_of(page)}#{n}", language, text) for n, (language, text) in enumerate(found, 1)]


def prose(page: Path) -> str:
    """Return the page without its blocks."""
    return _FENCE.sub("", page.read_text())


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Return what a link may name after its `#`: the headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of every `fleet ...` and `make ...` line, without the variables that are set before it."""
    for line in _logical_lines(text):
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:  # prose with an apostrophe
            continue
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words and words[0].removeprefix(".venv/bin/") in ("fleet", "make"):
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def _logical_lines(text: str) -> list[str]:
    """Return lines as the shell takes them: a line may continue after a backslash, or inside quotation marks."""
    text = re.sub(r'"[^"\n]*\n[^"\n]*"$', lambda quoted: quoted[0].replace("\n", " "), text, flags=re.M)
    return text.replace("\\\n", " ").splitlines()


def parse(words: list[str]) -> None:
    """Parse a `fleet` or `make` line.

    Raises: UsageError if it names a command, target or option that does not exist.
    """
    if words[0] == "make":
        _parse_make(words[1:])
    else:
        _parse_fleet(words[1:])


def _parse_make(words: list[str]) -> None:
    unknown = [word for word in words if "=" not in word and word not in _MAKE_TARGETS]
    if unknown:
        raise UsageError(f"no target {unknown[0]!r}")


@cache
def _fleet() -> Command:
    return typer.main.get_command(app)


def _parse_fleet(words: list[str]) -> None:
    command = _fleet()
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
