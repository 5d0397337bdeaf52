"""`fleet ledger verify`, `prove` and `key` against a fleet in memory and a real SQLite file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fake_app import App
from ledger_lines import entry, job_id
from typer.testing import Result

from fleet.ledger import locks
from fleet.ledger.audit.erase import Subject, erase
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.locks import LockName, lock_on
from fleet.receipts.notes import VerifierKey
from fleet.receipts.proofs import Proof
from queues.memory import MemoryQueue

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


@pytest.fixture
def ledger(fake_app: App, invoke_json: InvokeJson, tmp_path: Path) -> Path:
    """The database of a ledger of five lines."""
    asyncio.run(MemoryQueue(fake_app.fleet.broker).publish([entry(number) for number in range(5)]))
    assert invoke_json("ledger", "replay") == {"lines": 5}
    return tmp_path / "data" / "ledger.sqlite3"


def write_key(
    path: Path, key: Ed25519PrivateKey | X25519PrivateKey, mode: int = 0o600, passphrase: bytes = b""
) -> Path:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    path.chmod(mode)
    return path


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_key(tmp_path / "ledger.key", Ed25519PrivateKey.generate())
    monkeypatch.setenv("FLEET_LEDGER_KEY_FILE", str(path))
    return path


def test_a_clean_ledger_is_said_to_be_clean(ledger: Path, invoke: Invoke, invoke_json: InvokeJson) -> None:
    said = invoke_json("ledger", "verify")
    assert (said["clean"], [day["rows"] for day in said["days"]], said["faults"]) == (True, [5], [])
    assert "clean: 5 rows" in invoke("ledger", "verify").stdout


def test_a_changed_row_is_named_and_the_command_fails(ledger: Path, invoke: Invoke) -> None:
    with sqlite3.connect(ledger) as database:
        database.execute("UPDATE entries SET cost_nano_usd = cost_nano_usd - 1 WHERE seq = 3")
    done = invoke("ledger", "verify")
    assert done.exit_code == 1
    assert "row 3: its columns are not those of its leaf" in done.stdout
    told = json.loads(invoke("ledger", "verify", "--json").stdout)
    assert (told["clean"], told["faults"][0]["seq"]) == (False, 3)


def test_a_ledger_that_is_being_erased_from_is_verified_afterwards(
    ledger: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_for(database_url(f"sqlite:///{ledger}"))
    erase(engine, Subject("acme"))  # its record is not there yet
    erasing = lock_on(engine, LockName.ERASURE)
    assert erasing.claim()

    def end_it(_: float) -> None:
        with sqlite3.connect(ledger) as database:
            database.execute("UPDATE entries SET person = NULL")
        erasing.release()

    monkeypatch.setattr(locks.time, "sleep", end_it)
    done = invoke("ledger", "verify")
    engine.dispose()
    assert "waiting for an erasure to end" in done.stderr
    assert "no erasure is named" in done.stdout  # it saw what was there at the end


def test_an_empty_ledger_is_clean(fake_app: App, invoke_json: InvokeJson) -> None:
    assert invoke_json("ledger", "replay") == {"lines": 0}
    assert invoke_json("ledger", "verify") == {"clean": True, "days": [], "faults": []}


def test_a_receipt_is_printed_or_written_and_the_printed_key_checks_it(
    ledger: Path, key_file: Path, invoke: Invoke, tmp_path: Path
) -> None:
    key = VerifierKey.parsed(invoke("ledger", "key").stdout)
    assert key.name.startswith("fleet.local/ledger/")
    printed = Proof.parsed(invoke("ledger", "prove", job_id(2)).stdout)
    written = Path(invoke("ledger", "prove", job_id(2), "-o", str(tmp_path / "r")).stdout.strip())
    assert written.name == f"{job_id(2)}.1.tlog-proof"
    for proof in (printed, Proof.parsed(written.read_text())):
        assert proof.verified(json.loads(proof.extra)["leaf"].encode(), key).size == 6


@pytest.mark.parametrize("command", [("prove", job_id(2)), ("key",)])
def test_without_a_key_there_is_nothing_to_print(ledger: Path, invoke: Invoke, command: tuple[str, ...]) -> None:
    done = invoke("ledger", *command)
    assert done.exit_code == 1
    assert "FLEET_LEDGER_KEY_FILE" in done.stderr


def test_a_key_that_anybody_may_read_is_refused(ledger: Path, key_file: Path, invoke: Invoke) -> None:
    key_file.chmod(0o644)
    done = invoke("ledger", "verify")
    assert (done.exit_code, "may be read by anybody" in done.stderr) == (1, True)


def test_a_file_without_an_ed25519_key_is_refused(ledger: Path, key_file: Path, invoke: Invoke) -> None:
    for write, rule in (
        (lambda: key_file.write_bytes(b""), "is empty"),
        (lambda: key_file.write_bytes(b"no key"), "holds no Ed25519 key"),
        (lambda: write_key(key_file, X25519PrivateKey.generate()), "holds no Ed25519 key"),
        (lambda: write_key(key_file, Ed25519PrivateKey.generate(), passphrase=b"said"), "without a passphrase"),
    ):
        write()
        done = invoke("ledger", "verify")
        assert (done.exit_code, f"FLEET_LEDGER_KEY_FILE: {key_file} " in done.stderr) == (1, True)
        assert rule in done.stderr


@pytest.mark.parametrize("name", ["two words", "a+b", ""])
def test_a_name_that_no_log_can_have_is_refused(
    ledger: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("FLEET_LEDGER_NAME", name)
    done = invoke("ledger", "verify")
    assert (done.exit_code, "FLEET_LEDGER_NAME" in done.stderr) == ((1, True) if name else (0, False))


def test_a_key_that_is_none_is_wrong_usage(ledger: Path, invoke: Invoke) -> None:
    assert invoke("ledger", "verify", "--key", "nonsense").exit_code == 2


def test_a_ledger_that_was_never_written_says_what_to_do(fake_app: App, invoke: Invoke) -> None:
    done = invoke("ledger", "verify")
    assert (done.exit_code, "`fleet ledger run` makes it, and FLEET_LEDGER_URL names another" in done.stderr) == (
        1,
        True,
    )


def test_erasing_nobody_is_wrong_usage(fake_app: App, invoke: Invoke) -> None:
    assert invoke("erase").exit_code == 2
