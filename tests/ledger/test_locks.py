"""A lock has one holder, ends with its process however that ends, and may be shared where it is made for that."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from patience import eventually_here
from sqlalchemy import Engine, text

from fleet.ledger import locks
from fleet.ledger.database import POSTGRESQL, database_url, engine_for
from fleet.ledger.locks import LockName, held, lock_on
from fleet.model.errors import LedgerUnavailable

HOLDER = """
import sys
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.locks import LockName, lock_on
print(lock_on(engine_for(database_url(sys.argv[1])), LockName.WRITER).claim(), flush=True)
sys.stdin.read()  # until whoever started it kills it, or ends
"""


def test_a_second_one_is_refused_until_the_first_lets_go(engine: Engine) -> None:
    first, second = lock_on(engine, LockName.WRITER), lock_on(engine, LockName.WRITER)
    assert [first.claim(), second.claim(), first.claim()] == [True, False, True]
    first.release()
    assert eventually_here(second.claim)
    assert not first.claim()
    for each in (first, second):
        each.release()


def test_locks_of_other_names_do_not_meet(engine: Engine) -> None:
    held = [lock_on(engine, name) for name in LockName]
    assert all(each.claim() for each in held)
    for each in held:
        each.release()


def test_readers_share_a_lock_and_keep_the_one_out_who_wants_it_alone(engine: Engine) -> None:
    readers = [lock_on(engine, LockName.ERASURE, is_shared=True) for _ in range(2)]
    alone = lock_on(engine, LockName.ERASURE)
    assert [each.claim() for each in readers] == [True, True]
    assert not alone.claim()
    for each in readers:
        each.release()
    assert eventually_here(alone.claim)
    assert not readers[0].claim()
    for each in (alone, *readers):
        each.release()


def test_a_holder_that_is_killed_leaves_nothing_to_clear(engine: Engine, ledger_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, ledger_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        ours = lock_on(engine, LockName.WRITER)
        assert not ours.claim()
        holder.send_signal(signal.SIGKILL)
    assert eventually_here(ours.claim)
    ours.release()


@pytest.mark.parametrize("ledger_url", [POSTGRESQL], indirect=True)
def test_a_lock_whose_connection_broke_is_not_taken_for_held(engine: Engine) -> None:
    first, second = lock_on(engine, LockName.WRITER), lock_on(engine, LockName.WRITER)
    assert first.claim()
    with engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        connection.execute(text(others))
    assert eventually_here(second.claim)
    with pytest.raises(LedgerUnavailable):
        first.claim()
    assert not first.claim()
    second.release()
    assert eventually_here(first.claim)
    first.release()


def test_whoever_waits_says_so_once_and_has_the_lock_then(engine: Engine) -> None:
    other, said = lock_on(engine, LockName.ERASURE), []
    assert other.claim()

    def on_wait() -> None:
        said.append("waiting")
        other.release()

    for _ in range(2):
        with held(lock_on(engine, LockName.ERASURE), on_wait):
            assert not other.claim()
    assert said == ["waiting"]
    assert eventually_here(other.claim)
    other.release()


@pytest.mark.parametrize("is_shared", [True, False])
def test_only_a_reader_goes_without_a_lock_where_no_file_may_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(locks.os, "open", refused)
    engine = engine_for(database_url(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))
    with nullcontext() if is_shared else pytest.raises(LedgerUnavailable, match="permission denied"):
        assert lock_on(engine, LockName.ERASURE, is_shared).claim()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocking = tmp_path / "file"
    blocking.touch()
    engine = engine_for(database_url(f"sqlite:///{blocking / 'ledger.sqlite3'}"))
    with pytest.raises(LedgerUnavailable, match=r"ledger\.sqlite3\.writer: file exists"):
        lock_on(engine, LockName.WRITER).claim()
