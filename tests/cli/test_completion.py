"""The shell completes what it has been taught by `fleet --install-completion`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from fleet.cli.commands import app


def completed(line: str) -> set[str]:
    """What bash is offered for the last word of the line."""
    asked = {"_FLEET_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return set(CliRunner().invoke(app, [], prog_name="fleet", env=asked).stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fleet sub", {"submit"}),
        ("fleet bulk re", {"results", "retry-failed"}),
        ("fleet submit --la", {"--lane"}),
        ("fleet submit --lane ", {"interactive", "standard", "bulk"}),
        ("fleet nothing-such", set()),
    ],
)
def test_commands_options_and_their_words_are_completed(line: str, offered: set[str]) -> None:
    assert completed(line) == offered
