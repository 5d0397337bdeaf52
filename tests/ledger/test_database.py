"""Opening, migrating and losing a database."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from ledger_lines import NOON, entry, lines_of
from sqlalchemy import Engine, event, inspect, text

from fleet.ledger import database
from fleet.ledger.database import check_migrated, database_url, engine_for, migrate, shown
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import metadata
from fleet.model.errors import ConfigError, LedgerUnavailable


def test_the_migrations_make_the_tables_as_they_are_declared(engine: Engine) -> None:
    migrate(engine)
    migrate(engine)  # a second time changes nothing
    check_migrated(engine)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    # An index on an expression, for the view alone, is no part of the tables' declaration.
    assert [each for each in differences if "entries_created_at" not in str(each)] == []


def test_a_migration_that_was_killed_leaves_nothing_behind(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        real(*_)
        raise KeyboardInterrupt

    real = database.command.upgrade
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(database.command, "upgrade", killed)
        migrate(engine)
    assert inspect(engine).get_table_names() == []

    migrate(engine)
    check_migrated(engine)


def test_a_database_of_the_first_version_is_brought_up_with_what_is_in_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        upgrade = database.command.upgrade
        patch.setattr(database.command, "upgrade", lambda config, _: upgrade(config, "0001"))
        migrate(engine)
    with pytest.raises(LedgerUnavailable, match="not of this version"):
        check_migrated(engine)
    rows = ("exact", 1), ("llama-8b", 2)
    with engine.begin() as connection:
        for target, seq in rows:
            connection.exec_driver_sql(
                "INSERT INTO entries (seq, day, at, tenant, job_id, line, attempt, target, commitment, leaf)"
                f" VALUES ({seq}, '2026-03-01', {NOON}, 'acme', 'job-{seq}', '1', 1, '{target}', '', '')"
            )
    migrate(engine)
    with engine.connect() as connection:
        calls = connection.execute(text("SELECT target, cached FROM ai_call_logs ORDER BY id")).all()
        [told] = connection.execute(text("SELECT avoided_input_tokens FROM entries WHERE seq = 1"))
    assert [(target, bool(cached)) for target, cached in calls] == [("exact", True), ("llama-8b", False)]
    assert told == (None,)


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for touch in (migrate, check_migrated):
        with pytest.raises(ConfigError, match=r"is of a newer version of the fleet \(9999\)"):
            touch(engine)


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "ledger.sqlite3"
    engine = engine_for(database_url(f"sqlite:///{path}"))
    store = LedgerStore(engine, lambda: NOON)
    store.open()
    store.write(lines_of([entry()]))
    files = sorted(path.parent.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("nonsense", "must be sqlite:///path or postgresql://"),
        ("mysql://root@host/x", "must be of SQLite or PostgreSQL"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_an_address_that_is_none_names_the_variable_and_the_rule(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as raised:
        database_url(url)
    assert raised.value.field == "FLEET_LEDGER_URL"
    assert url not in str(raised.value)


def test_a_password_is_shown_nowhere() -> None:
    url = database_url("postgresql://fleet:geheim@127.0.0.1:1/ledger")
    assert "geheim" not in shown(url)
    with pytest.raises(LedgerUnavailable) as raised:
        migrate(engine_for(url))
    assert "geheim" not in f"{raised.value}"
    assert "127.0.0.1" in f"{raised.value}"


def test_a_full_disk_loses_nothing_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    engine = engine_for(database_url(f"sqlite:///{tmp_path / 'ledger.sqlite3'}"))
    pages = [1_000_000]
    # What SQLite says when its file may not grow is what it says on a full disk.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages[0]}"))
    store = LedgerStore(engine, lambda: NOON)
    store.open()
    store.write(lines_of([entry(1)]))
    pages[0] = 1
    many = lines_of((entry(number) for number in range(2, 2000)), first=2)

    with pytest.raises(LedgerUnavailable, match="database or disk is full"):
        store.write(many)
    assert LedgerReader(engine).lines() == 1

    pages[0] = 1_000_000
    assert store.open().last_sequence == 1
    assert store.write(many) == 1998
    engine.dispose()


def test_a_file_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.mkdir()
    with pytest.raises(LedgerUnavailable, match="unable to open database file"):
        migrate(engine_for(database_url(f"sqlite:///{path}")))


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(LedgerUnavailable, match="DatabaseError"):
        migrate(engine_for(database_url(f"sqlite:///{path}")))
