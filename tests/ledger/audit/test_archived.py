"""A closed day's Parquet file, which reports read, is checked against the ledger whether or not rows are left."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from fleet.ledger import archive
from fleet.ledger.archive import archive_closed_days, path_of, rewrite
from fleet.ledger.audit.erase import Subject, erase
from fleet.ledger.audit.verify import verify
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import days, entries

FIRST, SECOND, THIRD = "2026-03-01", "2026-03-02", "2026-03-03"
NAME = "example.com/ledger"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger-days"


@pytest.fixture
def archived(engine: Engine, three_days: LedgerStore, folder: Path) -> Engine:
    """A ledger whose first two days are closed and have files."""
    assert archive_closed_days(engine, folder) == [FIRST, SECOND]
    return engine


def faults(engine: Engine, folder: Path | None, first_kept: str | None = None) -> list[tuple[str, int | None, str]]:
    found = [fault for report in verify(engine, NAME, None, first_kept, folder) for fault in report.faults]
    return [(fault.day, fault.seq, fault.what) for fault in found]


def forget(engine: Engine) -> None:
    """Delete the rows of the first day, as retention does."""
    with engine.begin() as connection:
        connection.execute(sa.delete(entries).where(entries.c.day == FIRST))


def digest_of(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(sa.select(days.c.parquet).where(days.c.day == FIRST)))


def forge(engine: Engine, folder: Path, rows: list[dict[str, Any]], schema: pa.Schema = archive.SCHEMA) -> None:
    """Put another file in place of the first day's, and its hash into the ledger."""
    made = folder / "forged"
    pq.write_table(pa.Table.from_pylist(rows, schema), made)
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    made.rename(path_of(folder, FIRST, digest))
    with engine.begin() as connection:
        connection.execute(sa.update(days).where(days.c.day == FIRST).values(parquet=digest))


def rows_of(engine: Engine, folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = archive.read(folder, FIRST, digest_of(engine), archive.SCHEMA.names).to_pylist()
    return rows


@pytest.mark.parametrize("kept", [True, False])
def test_files_as_they_were_written_are_clean(archived: Engine, folder: Path, kept: bool) -> None:
    if not kept:
        forget(archived)
    assert faults(archived, folder, None if kept else SECOND) == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_of_an_older_version_has_fewer_columns_and_is_clean(archived: Engine, folder: Path, kept: bool) -> None:
    rows = rows_of(archived, folder)
    empty = {name for name in archive.LATER if {row[name] for row in rows} == {None}}
    older = pa.schema([each for each in archive.SCHEMA if each.name not in empty])
    forge(archived, folder, rows, older)
    later = {name: {row[name] for row in rows_of(archived, folder)} for name in ("avoided_input_tokens", "experiment")}
    assert later == {"avoided_input_tokens": {None}, "experiment": {None}}
    if not kept:
        forget(archived)
    assert faults(archived, folder, None if kept else SECOND) == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_value_that_was_changed_in_a_file_is_found_although_its_hash_was_changed_as_well(
    archived: Engine, folder: Path, kept: bool
) -> None:
    plain = rows_of(archived, folder)
    if not kept:
        forget(archived)
    others: dict[type, Any] = {str: "other", int: 7, float: 0.25, bool: True, bytes: b"x" * 32, type(None): None}
    names = [field.name for field in archive.SCHEMA if plain[2][field.name] is not None]
    if not kept:
        names.remove("job_id")  # what vouched for it was deleted with the row
    for name in names:
        forge(archived, folder, [*plain[:2], {**plain[2], name: others[type(plain[2][name])]}, *plain[3:]])
        found = faults(archived, folder, None if kept else SECOND)
        assert {day for day, _, _ in found} == {FIRST}, name
        assert "archive" in found[0][2], name
        assert not kept or found[0][1] in (3, 7), name
    forge(archived, folder, plain)
    assert faults(archived, folder, None if kept else SECOND) == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_row_that_was_removed_added_or_moved_in_a_file_is_found(archived: Engine, folder: Path, kept: bool) -> None:
    plain = rows_of(archived, folder)
    if not kept:
        forget(archived)
    for rows in (plain[:-1], plain[1:], [*plain, plain[-1]], [plain[1], plain[0], *plain[2:]], []):
        forge(archived, folder, rows)
        assert {day for day, _, _ in faults(archived, folder, None if kept else SECOND)} == {FIRST}


def test_a_file_that_was_changed_or_is_gone_is_found(archived: Engine, folder: Path) -> None:
    path = path_of(folder, FIRST, digest_of(archived))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    [(day, _, what)] = faults(archived, folder)
    assert (day, "its hash is another" in what) == (FIRST, True)
    path.unlink()
    [(day, _, what)] = faults(archived, folder)
    assert (day, "cannot be read" in what) == (FIRST, True)


@pytest.mark.parametrize("digest", ["0" * 64, "", "../../../etc/passwd", "\x01"])
def test_a_hash_of_no_file_is_found(archived: Engine, folder: Path, digest: str) -> None:
    with archived.begin() as connection:
        connection.execute(sa.update(days).where(days.c.day == FIRST).values(parquet=digest))
    assert [day for day, _, _ in faults(archived, folder)] == [FIRST]


def test_what_is_no_parquet_file_is_found(archived: Engine, folder: Path) -> None:
    digest = hashlib.sha256(b"no file").hexdigest()
    path_of(folder, FIRST, digest).write_bytes(b"no file")
    with archived.begin() as connection:
        connection.execute(sa.update(days).where(days.c.day == FIRST).values(parquet=digest))
    assert faults(archived, folder) == [(FIRST, None, "its archive holds what no day can hold")]


def test_a_day_that_goes_on_has_no_file(archived: Engine, folder: Path) -> None:
    with archived.begin() as connection:
        connection.execute(sa.update(days).where(days.c.day == THIRD).values(parquet=digest_of(archived)))
    assert [day for day, _, _ in faults(archived, folder)] == [THIRD]


@pytest.mark.parametrize("kept", [True, False])
def test_files_are_clean_after_an_erasure(archived: Engine, folder: Path, kept: bool) -> None:
    if not kept:
        forget(archived)
    [made] = erase(archived, Subject("acme"))
    rewrite(archived, folder, "acme", "erased-by-another-try")
    assert {what for _, _, what in faults(archived, folder, None if kept else SECOND)} == {
        f"{made.rows} rows up to {made.last} are erased, and no record says so"
    }


def test_a_file_that_names_an_erased_tenant_is_found(archived: Engine, folder: Path) -> None:
    forget(archived)
    erase(archived, Subject("acme"))
    found = [what for day, _, what in faults(archived, folder, SECOND) if day == FIRST]
    assert any("tenant acme" in what for what in found)


def test_files_that_nobody_looked_at_are_said_to_be_unchecked(archived: Engine) -> None:
    reports = verify(archived, NAME, None, None, None)
    assert [each.file_unchecked for each in reports] == [True, True, False, False]


def test_a_file_that_is_written_again_while_the_ledger_is_verified_is_no_fault(archived: Engine, folder: Path) -> None:
    reports = verify(archived, NAME, None, None, folder)
    first = next(reports)
    erase(archived, Subject("acme"))
    rewrite(archived, folder, "acme", "erased-x")
    assert [fault for report in (first, *reports) for fault in report.faults] == []
