"""The program of docs/how-to/receipts.md believes a receipt as the command writes it, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from independent_verifier import independent_verifier
from ledger_lines import entry, job_id, lines_of
from pages import ROOT, blocks
from typer.testing import CliRunner

from fleet.cli.commands import app
from fleet.ledger.audit.log import Signing
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore

PAGE = blocks(ROOT / "docs" / "how-to" / "receipts.md")
[PROGRAM] = [block.text for block in PAGE if block.language == "python"]
[MAKE_KEY] = [block.text for block in PAGE if block.language == "sh"]
NAME = "fleet.example.com/ledger"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a key as the page makes it, and a ledger of three lines that a writer signed with it."""
    subprocess.run(["bash", "-euc", MAKE_KEY], cwd=tmp_path, check=True, capture_output=True)
    private = load_pem_private_key((tmp_path / "ledger.key").read_bytes(), password=None)
    assert isinstance(private, Ed25519PrivateKey)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    engine = engine_for(database_url(url))
    store = LedgerStore(engine, lambda: 0.0, Signing(NAME, private))
    store.open()
    store.write(lines_of([entry(1), entry(2), entry(3)]))
    engine.dispose()
    for variable, value in {"URL": url, "NAME": NAME, "KEY_FILE": str(tmp_path / "ledger.key")}.items():
        monkeypatch.setenv(f"FLEET_LEDGER_{variable}", value)
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def believes(folder: Path, receipt: str, key: str) -> subprocess.CompletedProcess[str]:
    independent_verifier()
    (folder / "check.py").write_text(PROGRAM)
    command = [sys.executable, str(folder / "check.py"), receipt, key]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_program_believes_a_receipt(ledger: Path) -> None:
    receipt = run("ledger", "prove", job_id(2), "--tenant", "acme", "--output", str(ledger / "receipts"))
    assert Path(receipt).name == f"{job_id(2)}.1.tlog-proof"
    done = believes(ledger, receipt, run("ledger", "key"))
    assert done.returncode == 0, done.stderr
    assert f'["acme", "{job_id(2)}", "1"]' in done.stdout


def test_the_program_does_not_believe_a_receipt_that_was_changed(ledger: Path) -> None:
    receipt, key = Path(run("ledger", "prove", job_id(2), "-o", str(ledger))), run("ledger", "key")
    text = receipt.read_text()
    receipt.write_text(text.replace("index 2", "index 1"))
    assert "not in the log" in believes(ledger, str(receipt), key).stderr
    other = run("ledger", "prove", job_id(3)).splitlines()
    mixed = text.splitlines()
    mixed[1] = other[1]
    receipt.write_text("\n".join(mixed) + "\n")
    assert "not in the log" in believes(ledger, str(receipt), key).stderr
