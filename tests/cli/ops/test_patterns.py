"""`fleet patterns`: which answers are written down, and what a message gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, blocks
from typer.testing import Result

from fleet.settings.documents import shipped

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]

EXAMPLE = blocks(ROOT / "docs" / "how-to" / "patterns.md")[0].text


@pytest.fixture
def rules_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give commands the shipped rules with the patterns of the page, checked on the given day."""

    def give(checked: str) -> None:
        added = yaml.safe_load(EXAMPLE.replace("2026-11-28", checked))
        path = tmp_path / "rules.yaml"
        path.write_text(
            yaml.safe_dump({**yaml.safe_load(shipped("policies", "rules.yaml").read_text()), **added}, sort_keys=False)
        )
        monkeypatch.setenv("FLEET_RULES_PATH", str(path))

    return give


def test_the_shipped_rules_have_no_patterns(invoke: Invoke) -> None:
    assert "no list of patterns" in invoke("patterns", "check").stdout


def test_lists_that_were_checked_long_ago_are_due(invoke: Invoke, rules_of: Callable[..., None]) -> None:
    rules_of("2020-02-29")
    result = invoke("patterns", "check")
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][:7] == ["greetings", "en", "chat", "2", "6", "2020-02-29", "due:"]


def test_a_list_that_was_checked_lately_is_not(invoke_json: InvokeJson, rules_of: Callable[..., None]) -> None:
    rules_of("9999-12-31")
    found = invoke_json("patterns", "check")
    assert found["ok"] and list(found["lists"]) == ["greetings", "salutations", "acme-hours"]
    assert found["lists"]["greetings"]["due"] is False


@pytest.mark.parametrize(
    ("tenant", "message", "answer"),
    [
        ("acme", "Hey!!", "Hello! How can I help?"),
        ("acme", "When are you open?", "Every day from 9 to 17."),
        ("acme", "bonjour", None),
        ("initech", "Bonjour !", "Bonjour ! Comment puis-je vous aider ?"),
        ("initech", "hey, cancel my plan", None),
        ("globex", "hello", None),
    ],
)
def test_a_message_is_tried_without_sending_it(
    invoke_json: InvokeJson, rules_of: Callable[..., None], tenant: str, message: str, answer: str | None
) -> None:
    rules_of("2026-11-28")
    assert invoke_json("patterns", "try", "chat", message, "--tenant", tenant)["answer"] == answer


def test_a_task_that_no_job_can_have_is_refused(invoke: Invoke, rules_of: Callable[..., None]) -> None:
    rules_of("2026-11-28")
    assert "wrong job: task: must be one of chat, " in invoke("patterns", "try", "chatt", "Hey").stderr


def test_what_was_looked_for_is_said(invoke: Invoke, rules_of: Callable[..., None]) -> None:
    rules_of("2026-11-28")
    said = invoke("patterns", "try", "chat", "Hey, cancel my plan!", "--tenant", "acme").stdout
    assert said == 'a model answers: no pattern of acme and chat is "hey cancel my plan"\n'
