"""An erased tenant or person is gone from the database, its file included, and the log and all sums stand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledger_lines import NOON, entry, line_of
from sqlalchemy import Engine

from fleet.ledger import store as storing
from fleet.ledger.audit.erase import Subject, erase, lines_of, unrecorded
from fleet.ledger.audit.verify import LedgerFault, verify
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import days, entries, rollups
from fleet.model.erasure import Erasure
from fleet.model.result import LedgerLine
from queues.wire.erasure import erasure_message, is_erasure
from queues.wire.subjects import MSG_ID

NAME = "example.com/ledger"
DAY_SECONDS = 86_400.0
LATER = NOON + 2 * DAY_SECONDS
PERSON = "person-81f2"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def faults(engine: Engine) -> list[LedgerFault]:
    return [fault for report in verify(engine, NAME, None, None) for fault in report.faults]


def about(number: int, tenant: str, person: str | None) -> LedgerLine:
    """A line about a person, as a dispatcher sends it."""
    line = line_of(number, entry(number, tenant=tenant))
    said = json.loads(line.data) | ({"person": person, "traceparent": TRACE} if person else {})
    return replace(line, data=json.dumps(said).encode())


def recorded(store: LedgerStore, made: list[Erasure], seq: int) -> None:
    """Write the records of erasures as the stream hands them out."""
    for number, erasure in enumerate(made, seq):
        message = erasure_message(erasure, LATER)
        assert message.headers is not None
        tenant = message.subject.removeprefix("ledger.")
        store.write([LedgerLine(number, LATER, tenant, message.headers[MSG_ID], message.data)])


def totals(engine: Engine) -> list[Any]:
    """What was spent, by what is said of nobody."""
    by = [rollups.c[name] for name in ("day", "lane", "target", "reason", "status")]
    sums = [sa.func.sum(rollups.c[name]) for name in ("lines", "jobs", "cost_nano_usd", "input_tokens")]
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*by, *sums).group_by(*by).order_by(*by))]


@pytest.fixture
def people(store: LedgerStore) -> LedgerStore:
    """Lines of two tenants about one person and about nobody."""
    store.write([about(n, ("acme", "globex")[n % 2], PERSON if n % 4 < 2 else None) for n in range(1, 21)])
    return store


def test_an_erased_tenant_leaves_its_sums_and_no_name(engine: Engine, people: LedgerStore) -> None:
    before = totals(engine)
    [made] = erase(engine, Subject("acme"))
    assert (made.rows, made.first, made.last, made.tenant) == (10, 2, 20, made.id)
    assert totals(engine) == before
    with engine.connect() as connection:
        rows = connection.execute(sa.select(entries).where(entries.c.tenant == made.id)).mappings().all()
        kept = connection.scalar(sa.select(sa.func.count()).where(entries.c.tenant == "globex"))
        assert connection.scalars(sa.select(rollups.c.tenant).distinct()).all() in (
            ["globex", made.id],
            [made.id, "globex"],
        )
    assert (len(rows), kept) == (10, 10)
    for row in rows:
        assert [row[name] for name in ("body", "salt", "task", "traceparent")] == [None] * 4
        assert (row["job_id"], row["person"]) == (f"erased-{row['seq']}", made.id)
        assert row["cost_nano_usd"] == 1_000_000


def test_the_ledger_is_clean_once_the_erasure_is_on_record(engine: Engine, people: LedgerStore) -> None:
    made = erase(engine, Subject("acme"))
    assert unrecorded(engine) == made
    assert ["no record says so" in fault.what for fault in faults(engine)] == [True]
    recorded(people, made, 21)
    assert unrecorded(engine) == []
    assert faults(engine) == []


def test_a_person_is_erased_and_the_tenants_stay(engine: Engine, people: LedgerStore) -> None:
    before = totals(engine)
    made = erase(engine, Subject(person=PERSON))
    assert sorted((each.tenant, each.rows) for each in made) == [("acme", 5), ("globex", 5)]
    recorded(people, made, 21)
    assert faults(engine) == []
    assert [line.seq for line in lines_of(engine, Subject(person=PERSON))] == []
    assert sum(row[5] for row in totals(engine)) == sum(row[5] for row in before) + 2  # the records


def test_a_person_of_one_tenant_is_not_the_same_person_of_another(engine: Engine, people: LedgerStore) -> None:
    [made] = erase(engine, Subject("acme", PERSON))
    assert made.tenant == "acme"
    assert {line.tenant for line in lines_of(engine, Subject(person=PERSON))} == {"globex"}


def test_a_tenant_is_erased_after_one_of_its_persons(engine: Engine, people: LedgerStore) -> None:
    recorded(people, erase(engine, Subject("acme", PERSON)), 21)
    recorded(people, erase(engine, Subject("acme")), 22)
    assert faults(engine) == []
    assert lines_of(engine, Subject("acme")) == []


def test_what_is_erased_already_is_passed_over(engine: Engine, people: LedgerStore) -> None:
    recorded(people, erase(engine, Subject("acme")), 21)
    assert erase(engine, Subject("acme")) == []
    assert erase(engine, Subject("nobody")) == []
    assert faults(engine) == []


def test_rows_that_were_deleted_for_age_leave_no_name_in_the_sums(engine: Engine, store: LedgerStore) -> None:
    store.write([about(1, "acme", None), line_of(2, entry(2, tenant="globex"), LATER)])
    store.forget("2026-03-03")
    assert erase(engine, Subject("acme")) == []
    with engine.connect() as connection:
        assert "acme" not in connection.scalars(sa.select(rollups.c.tenant)).all()


def test_the_writer_goes_on_where_it_was(engine: Engine, people: LedgerStore) -> None:
    erase(engine, Subject("acme"))
    people.write([line_of(21, entry(21, tenant="acme"), LATER)])
    [made] = erase(engine, Subject("acme"))
    assert (made.rows, made.first) == (1, 21)


def test_files_of_days_that_changed_are_to_be_written_again(engine: Engine, people: LedgerStore) -> None:
    people.write([line_of(21, entry(21, tenant="globex"), LATER)])
    with engine.begin() as connection:
        connection.execute(sa.update(days).values(parquet="hash"))
    erase(engine, Subject("acme"))
    with engine.connect() as connection:
        assert connection.scalars(sa.select(days.c.parquet).order_by(days.c.day)).all() == [None, "hash"]


def test_files_of_days_whose_first_rows_are_deleted_are_kept(
    engine: Engine, people: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could write them again."""
    monkeypatch.setattr(storing, "DELETED_AT_ONCE", 5)
    people.forget("2026-03-02")
    with engine.begin() as connection:
        connection.execute(sa.update(days).values(parquet="hash"))
    erase(engine, Subject("acme"))
    with engine.connect() as connection:
        assert connection.scalars(sa.select(days.c.parquet)).all() == ["hash"]


def test_nothing_of_an_erased_tenant_is_left_in_the_file(engine: Engine, people: LedgerStore) -> None:
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM entries WHERE entries::text LIKE '%acme%'")) > 0
        erase(engine, Subject("acme"))
        with engine.connect() as connection:
            for table in ("entries", "rollups"):
                found = sa.text(f"SELECT count(*) FROM {table} WHERE {table}::text LIKE '%acme%'")
                assert connection.scalar(found) == 0
        return
    path = Path(str(engine.url.database))
    files = [path, path.with_name(f"{path.name}-wal")]
    assert any(b"acme" in file.read_bytes() for file in files if file.exists())
    erase(engine, Subject("acme"))
    for file in files:
        if file.exists():
            assert b"acme" not in file.read_bytes(), file


def test_a_change_in_an_erased_row_is_found_and_named(engine: Engine, people: LedgerStore) -> None:
    recorded(people, erase(engine, Subject("acme")), 21)
    for name, value in {
        "tenant": "globex",
        "job_id": "x",
        "person": "x",
        "task": "x",
        "body": b"x",
        "salt": b"x",
    }.items():
        with engine.begin() as connection:
            before = connection.scalar(sa.select(entries.c[name]).where(entries.c.seq == 4))
            connection.execute(sa.update(entries).where(entries.c.seq == 4).values({name: value}))
        assert 4 in {fault.seq for fault in faults(engine)}, name
        with engine.begin() as connection:
            connection.execute(sa.update(entries).where(entries.c.seq == 4).values({name: before}))
    assert faults(engine) == []


def test_emptying_a_row_is_no_erasure(engine: Engine, people: LedgerStore) -> None:
    with engine.begin() as connection:
        emptied = {"body": None, "salt": None, "task": None, "traceparent": None, "job_id": "erased-4", "person": "x"}
        connection.execute(sa.update(entries).where(entries.c.seq == 4).values(emptied))
    assert 4 in {fault.seq for fault in faults(engine)}


def test_a_record_is_no_line_of_a_job() -> None:
    erasure = Erasure("erased-1", "erased-1", 3, 1, 9, "00")
    assert is_erasure(erasure_message(erasure, NOON).data)
    assert not is_erasure(about(1, "acme", "erasure").data)
