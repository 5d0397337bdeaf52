"""Closed days become Parquet files, each written once and read only as it was written."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from accounts import Accounts, JobOf, call
from sqlalchemy import Connection, delete, literal_column, select, update

from fleet.ledger import archive
from fleet.ledger.archive import DamagedArchive, path_of, read, rename_tenant, rewrite
from fleet.ledger.audit.erase import Subject, erase
from fleet.ledger.tables import days, entries

FIRST, SECOND = "2026-03-01", "2026-03-02"


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    """A closed day with three lines, and one that goes on."""
    made = Accounts(tmp_path)
    made.book(0, JobOf().lines(1, call("small"), call("large", number=2)))
    made.book(0, JobOf(tenant="globex").lines(2, call("mini")))
    made.book(1, JobOf().lines(3, call("small")))
    return made


def digest_of(accounts: Accounts, day: str = FIRST) -> str:
    """The hash in the ledger; empty where there is none."""
    with accounts.engine.connect() as connection:
        return connection.scalar(select(days.c.parquet).where(days.c.day == day)) or ""


def file_of(accounts: Accounts) -> Path:
    return path_of(accounts.folder, FIRST, digest_of(accounts))


def rows_of(accounts: Accounts) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read(accounts.folder, FIRST, digest_of(accounts), archive.SCHEMA.names).to_pylist()
    return rows


def test_a_closed_day_is_written_and_the_day_that_goes_on_is_not(accounts: Accounts) -> None:
    assert accounts.archive() == [FIRST]
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]
    assert digest_of(accounts, SECOND) == ""


def test_a_file_holds_every_row_of_its_day_in_the_order_of_the_stream(accounts: Accounts) -> None:
    accounts.archive()
    found, names = pq.read_table(file_of(accounts)).to_pylist(), archive.SCHEMA.names
    with accounts.engine.connect() as connection:
        rows = connection.execute(select(*(entries.c[name] for name in names)).where(entries.c.day == FIRST))
        assert found == [dict(zip(names, row, strict=True)) for row in rows]
    assert [row["seq"] for row in found] == [1, 2, 3]


def test_what_an_erasure_destroys_is_in_no_file(accounts: Accounts) -> None:
    accounts.archive()
    columns = {column.name for column in entries.columns}
    assert set(pq.read_schema(file_of(accounts)).names) == columns - {"body", "salt", "person", "traceparent"}


def test_a_day_is_written_once(accounts: Accounts) -> None:
    accounts.archive()
    before = file_of(accounts).stat()
    assert accounts.archive() == []
    after = file_of(accounts).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_crash_before_the_hash_is_recorded_writes_the_day_again(accounts: Accounts) -> None:
    accounts.archive()
    with accounts.engine.begin() as connection:
        connection.execute(update(days).values(parquet=None))
    assert accounts.archive() == [FIRST]
    assert [row["seq"] for row in rows_of(accounts)] == [1, 2, 3]
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]


def test_a_file_that_cannot_be_finished_leaves_nothing_behind(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: Connection, day: str) -> Iterator[None]:
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "batches", full)
    with pytest.raises(OSError, match="No space left"):
        accounts.archive()
    assert list(accounts.folder.iterdir()) == []
    assert digest_of(accounts) == ""


@pytest.mark.parametrize("at", [10, -10, -1])
def test_a_file_that_was_changed_is_refused_by_name(accounts: Accounts, at: int) -> None:
    accounts.archive()
    path = file_of(accounts)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchive, match=rf"{path.name} is not the archive of {FIRST}"):
        rows_of(accounts)


def test_a_file_that_is_gone_is_named(accounts: Accounts) -> None:
    accounts.archive()
    file_of(accounts).unlink()
    with pytest.raises(DamagedArchive, match=f"the archive of {FIRST}, .* cannot be read: No such file"):
        rows_of(accounts)


def test_a_file_is_for_its_owner_alone(accounts: Accounts) -> None:
    accounts.archive()
    assert stat.S_IMODE(file_of(accounts).stat().st_mode) == 0o600


def test_a_tenant_that_is_erased_is_named_in_no_file_and_the_sums_stay(accounts: Accounts) -> None:
    accounts.archive()
    accounts.forget()
    before = rows_of(accounts)
    assert rename_tenant(accounts.engine, accounts.folder, "acme", "erased-1") == [FIRST]
    assert rename_tenant(accounts.engine, accounts.folder, "acme", "erased-1") == []
    after = rows_of(accounts)
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]
    assert b"acme" not in file_of(accounts).read_bytes()
    assert [(row["tenant"], row["job_id"]) for row in after[:2]] == [("erased-1", "erased-1")] * 2
    assert after[2] == before[2]
    named = {"tenant", "job_id", "task"}
    kept = [[{name: row[name] for name in row if name not in named} for row in rows] for rows in (before, after)]
    assert kept[0] == kept[1]


def test_a_day_that_has_lost_rows_gets_no_file(accounts: Accounts) -> None:
    with accounts.engine.begin() as connection:
        connection.execute(delete(entries).where(entries.c.seq == 2))
    assert accounts.archive() == []
    accounts.book(2, JobOf().lines(4, call("small")))
    assert accounts.archive() == [SECOND]


def during_the_next_write(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have `act` happen once between the writing of a file and the recording of its hash."""
    written, todo = archive._written, [act]

    def write(path: Path, found: Any) -> str:
        digest = written(path, found)
        while todo:
            todo.pop()()
        return digest

    monkeypatch.setattr(archive, "_written", write)


def erase_and_rewrite(accounts: Accounts, tenant: str) -> None:
    erasures = erase(accounts.engine, Subject(tenant))
    rewrite(accounts.engine, accounts.folder, tenant, erasures[0].id if erasures else "erased-1")


def test_a_row_that_was_changed_keeps_its_day_out_of_the_archive_and_no_other(accounts: Accounts) -> None:
    accounts.book(2, JobOf().lines(4, call("small")))
    with accounts.engine.begin() as connection:
        connection.execute(update(entries).where(entries.c.seq == 2).values(cost_nano_usd=literal_column("'much'")))
    with pytest.raises(DamagedArchive, match=f"{FIRST} has a row that no line has made"):
        accounts.archive()
    assert (digest_of(accounts), digest_of(accounts, SECOND) != "") == ("", True)


def test_a_tenant_that_is_erased_while_a_day_is_written_is_in_no_file(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_the_next_write(monkeypatch, lambda: erase_and_rewrite(accounts, "acme"))
    accounts.archive()
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]
    assert b"acme" not in file_of(accounts).read_bytes()


def test_a_person_that_is_erased_while_a_day_is_written_leaves_no_job_in_the_file(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.book(2, [replace(line, person="p-1") for line in JobOf().lines(7, call("small"))])
    accounts.book(3, JobOf().lines(8, call("small")))
    during_the_next_write(monkeypatch, lambda: erase(accounts.engine, Subject(person="p-1")))
    accounts.archive()
    files = [path.read_bytes() for path in accounts.folder.iterdir()]
    assert len(files) == 3
    assert not any(b"job-000000000007" in data for data in files)


def test_two_tenants_that_are_erased_at_once_are_in_no_file(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.archive()
    accounts.forget()
    during_the_next_write(monkeypatch, lambda: erase_and_rewrite(accounts, "globex"))
    erase_and_rewrite(accounts, "acme")
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]
    data = file_of(accounts).read_bytes()
    assert (b"acme" in data, b"globex" in data) == (False, False)


def test_a_day_that_two_processes_write_at_once_keeps_its_file(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_the_next_write(monkeypatch, accounts.archive)
    accounts.archive()
    assert [row["seq"] for row in rows_of(accounts)] == [1, 2, 3]


def test_rows_that_are_deleted_while_a_day_is_written_leave_it_without_a_file(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget() -> None:
        with accounts.engine.begin() as connection:
            connection.execute(delete(entries).where(entries.c.seq == 1))

    during_the_next_write(monkeypatch, forget)
    assert accounts.archive() == []
    assert (list(accounts.folder.iterdir()), digest_of(accounts)) == ([], "")


def test_what_a_killed_process_left_behind_is_removed(accounts: Accounts) -> None:
    accounts.folder.mkdir()
    (accounts.folder / f".{FIRST}.0123456789abcdef").write_bytes(b"acme")
    accounts.archive()
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]


@pytest.mark.parametrize("kept", [True, False])
def test_after_an_erasure_no_file_names_the_tenant_whether_or_not_its_rows_are_kept(
    accounts: Accounts, kept: bool
) -> None:
    accounts.archive()
    spent = sum(row["cost_nano_usd"] for row in rows_of(accounts))
    if not kept:
        accounts.forget()
    [erasure, *_] = erase(accounts.engine, Subject("acme"))
    rewrite(accounts.engine, accounts.folder, "acme", erasure.id)
    assert list(accounts.folder.iterdir()) == [file_of(accounts)]
    assert b"acme" not in file_of(accounts).read_bytes()
    assert {row["tenant"] for row in rows_of(accounts)} == {erasure.id, "globex"}
    assert sum(row["cost_nano_usd"] for row in rows_of(accounts)) == spent
