"""What `fleet erase` says of what an eraser did."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from fleet.cli.books import erase as command
from fleet.ledger.audit.erase import Subject
from fleet.ledger.audit.eraser import Erased
from fleet.ledger.audit.learned import Learned

NOTHING = Erased(0, 0, 0, None, 0)


class Eraser:
    """Answers with `erased`, and notes what it was asked."""

    def __init__(self) -> None:
        self.erased = NOTHING
        self.asked: list[tuple[str, Subject]] = []

    async def erase(self, subject: Subject, on_progress: Callable[[str], None]) -> Erased:
        self.asked.append(("erase", subject))
        return self.erased

    async def count(self, subject: Subject) -> Erased:
        self.asked.append(("count", subject))
        return self.erased


@pytest.fixture
def eraser(monkeypatch: pytest.MonkeyPatch) -> Eraser:
    made = Eraser()

    @asynccontextmanager
    async def opened(settings: object, withdraw: bool) -> AsyncIterator[Eraser]:
        if withdraw:
            made.asked.append(("withdraw", Subject()))
        yield made

    monkeypatch.setattr(command, "open_eraser", opened)
    return made


def test_without_a_content_store_no_contents_are_counted_and_it_is_said(
    eraser: Eraser, invoke: Callable[..., Result], invoke_json: Callable[..., dict[str, Any]]
) -> None:
    eraser.erased = Erased(3, 1, 12, None, 0, ("erased-1",))
    said = invoke("erase", "--tenant", "acme").stdout.splitlines()
    assert said[0] == "3 lines of the accounts, 12 messages erased"
    assert said[1].startswith("no content store")
    assert said[2] == "recorded as erased-1"
    assert invoke_json("erase", "--tenant", "acme")["contents"] is None


def test_a_dry_run_counts_and_erases_nothing(eraser: Eraser, invoke: Callable[..., Result]) -> None:
    eraser.erased = Erased(3, 1, 12, 2, 0)
    said = invoke("erase", "--tenant", "acme", "--person", "anna", "--dry-run").stdout
    assert said == "3 lines of the accounts, 12 messages, 2 contents would be erased\n"
    assert eraser.asked == [("count", Subject("acme", "anna"))]


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_a_misspelt_name_fails_and_is_said_back(
    eraser: Eraser, invoke: Callable[..., Result], option: tuple[str, ...]
) -> None:
    done = invoke("erase", "--tenant", "acmee", "--person", "annna", *option)
    assert done.exit_code == 1
    assert "nothing is found about person annna of tenant acmee" in done.stderr


LEARNED = Learned(("scheduler 0123456789ab",), ("foreign ba9876543210",), ("llama-8b/plan.*/token",))


def test_what_was_learned_from_them_is_told_with_what_becomes_of_it(
    eraser: Eraser, invoke: Callable[..., Result]
) -> None:
    eraser.erased = Erased(3, 1, 12, 2, 0, learned=LEARNED)
    said = invoke("erase", "--tenant", "acme").stdout
    assert "adapter scheduler 0123456789ab was trained on their rows: removed, the base answers" in said
    assert "nobody can say whose rows these adapters were trained on: foreign ba9876543210" in said
    assert "calibration llama-8b/plan.*/token may have been fitted on their jobs: numbers only stay" in said
    assert eraser.asked == [("erase", Subject("acme"))]
    said = invoke("erase", "--tenant", "acme", "--withdraw", "--dry-run").stdout
    assert "their rows: would be removed" in said
    assert "may have been fitted on their jobs: would be withdrawn" in said
    assert ("withdraw", Subject()) in eraser.asked


def test_exports_with_rows_of_theirs_are_named_and_no_others(
    eraser: Eraser, invoke: Callable[..., Result], invoke_json: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    for name, person in (("turn-1/data", "anna"), ("turn-2/data", "ben")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        source = {"tenant": "acme", "job_id": "job-1", "at": 1.0, "person": person}
        lines = [{"file": "train.jsonl", "line": line, "source": source} for line in (1, 1, 2)]
        files = {"train.jsonl": b"{}\n{}\n", "erasure-map.jsonl": "\n".join(map(json.dumps, lines)).encode()}
        for path, data in files.items():
            (folder / path).write_bytes(data)
        told = {path: {"sha256": hashlib.sha256(data).hexdigest()} for path, data in files.items()}
        (folder / "datasheet.json").write_text(json.dumps({"files": told}))
    ask = ("erase", "--person", "anna", "--exports", str(tmp_path))
    assert invoke_json(*ask)["exports"] == {str(tmp_path / "turn-1" / "data"): 2}
    said = invoke(*ask).stdout
    assert "turn-1/data: 2 lines are theirs" in said
    assert "turn-2" not in said
    assert invoke("erase", "--person", "carl", "--exports", str(tmp_path)).exit_code == 1
    asked = len(eraser.asked)
    misspelt = invoke("erase", "--person", "anna", "--exports", str(tmp_path / "turn-3"))
    assert "--exports: " in misspelt.stderr
    assert len(eraser.asked) == asked  # nothing is erased then
