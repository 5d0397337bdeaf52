"""Whatever is changed in the database afterwards is found, and the day and the row are named."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_lines import NOON, entry, line_of, lines_of
from sqlalchemy import Engine, Table

from fleet.ledger import store as storing
from fleet.ledger.audit.log import Signing, identity_of
from fleet.ledger.audit.verify import DayReport, LedgerFault, Seal, verify
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import days, entries, rollups, state
from fleet.model.result import LedgerLine
from fleet.receipts.notes import SignerKey, VerifierKey

NAME = "example.com/ledger"
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")
DAY_SECONDS = 86_400.0


def reports(engine: Engine, key: VerifierKey | None = None, first_kept: str | None = None) -> list[DayReport]:
    return list(verify(engine, NAME, key, first_kept))


def faults(engine: Engine, key: VerifierKey | None = None, first_kept: str | None = None) -> list[LedgerFault]:
    return [fault for report in reports(engine, key, first_kept) for fault in report.faults]


def change(engine: Engine, statement: Any) -> None:
    with engine.begin() as connection:
        assert connection.execute(statement).rowcount > 0


def flipped(value: Any, column: sa.Column[Any]) -> Any:
    """Return the value with as little changed as can be."""
    match value:
        case None:
            return {"BLOB": b"x", "BYTEA": b"x", "TEXT": "x"}.get(str(column.type), 1)
        case bool():
            return not value
        case int():
            return value ^ 1
        case float():
            [bits] = struct.unpack("<q", struct.pack("<d", value))
            return struct.unpack("<d", struct.pack("<q", bits ^ 1))[0]
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str():
            return chr(ord(value[0]) ^ 1) + value[1:]
    raise AssertionError(value)


@contextmanager
def flipped_for_now(engine: Engine, table: Table, name: str, which: sa.ColumnElement[bool]) -> Iterator[None]:
    """Have the value changed as little as can be, until the end of the block."""
    column = table.c[name]
    with engine.connect() as connection:
        value = connection.execute(sa.select(column).where(which)).scalar_one()
    change(engine, sa.update(table).where(which).values({name: flipped(value, column)}))
    yield
    change(engine, sa.update(table).where(which).values({name: value}))


def test_a_ledger_as_it_was_written_is_clean(engine: Engine, signer: SignerKey) -> None:
    found = reports(engine, signer.verifier)
    assert [(each.day, each.rows, each.seal, each.faults) for each in found[:-1]] == [
        (DAYS[0], 10, Seal.SIGNED, []),
        (DAYS[1], 10, Seal.SIGNED, []),
        (DAYS[2], 10, Seal.OPEN, []),
    ]
    assert found[-1].faults == []


def test_an_empty_ledger_is_clean(engine: Engine, store: LedgerStore) -> None:
    assert faults(engine) == []


def test_a_line_that_nobody_can_read_is_covered_as_well(engine: Engine, store: LedgerStore) -> None:
    store.write([LedgerLine(1, NOON, "mallory", None, b"\xff\x00"), line_of(2, entry(2))])
    assert faults(engine) == []
    change(engine, sa.update(entries).where(entries.c.seq == 1).values(body=b"\xff\x01"))
    assert [fault.seq for fault in faults(engine)] == [1]


def test_a_change_in_a_row_is_found_and_the_row_named(engine: Engine, three_days: LedgerStore) -> None:
    for seq, day in ((14, DAYS[1]), (25, DAYS[2])):  # in a day that is closed, and in today
        for name in (column.name for column in entries.c if column.name != "seq"):
            with flipped_for_now(engine, entries, name, entries.c.seq == seq):
                found = faults(engine)
            assert seq in {fault.seq for fault in found if fault.day == day}, name
            assert {fault.day for fault in found} <= {day, ""}, name
    assert faults(engine) == []


def test_a_row_under_another_number_is_found_and_named(engine: Engine, three_days: LedgerStore) -> None:
    change(engine, sa.update(entries).where(entries.c.seq == 14).values(seq=1014))
    assert (DAYS[1], 1014) in {(fault.day or DAYS[1], fault.seq) for fault in faults(engine)}


def test_a_change_in_a_day_is_found(engine: Engine, signer: SignerKey) -> None:
    for day in DAYS:
        for name in (column.name for column in days.c if column.name not in ("day", "parquet")):
            with flipped_for_now(engine, days, name, days.c.day == day):
                assert faults(engine, signer.verifier), (day, name)
    assert faults(engine, signer.verifier) == []


def test_a_day_under_another_name_is_found(engine: Engine, signer: SignerKey) -> None:
    change(engine, sa.update(days).where(days.c.day == DAYS[1]).values(day="2026-03-12"))
    assert faults(engine, signer.verifier)


def test_a_change_in_the_sums_is_found_and_the_day_named(engine: Engine, three_days: LedgerStore) -> None:
    with engine.connect() as connection:
        wanted = sa.select(rollups).where(rollups.c.day == DAYS[1], rollups.c.tenant == "acme").limit(1)
        row = connection.execute(wanted).mappings().one()
    keys = [column.name for column in rollups.primary_key.columns]
    which = sa.and_(*(rollups.c[name] == row[name] for name in keys))
    for name in (column.name for column in rollups.c if column.name not in keys):
        with flipped_for_now(engine, rollups, name, which):
            assert DAYS[1] in {fault.day for fault in faults(engine)}, name
    for name in keys:
        change(engine, sa.update(rollups).where(which).values({name: row[name] + "x"}))
        assert DAYS[1] in {fault.day for fault in faults(engine)}, name
        change(engine, sa.update(rollups).where(rollups.c[name] == row[name] + "x").values({name: row[name]}))
    assert faults(engine) == []


def test_a_note_of_the_last_line_before_the_last_is_found(engine: Engine, three_days: LedgerStore) -> None:
    change(engine, sa.update(state).values(last_seq=29))
    assert "line 30" in faults(engine)[0].what


@pytest.mark.parametrize("seq", [1, 10, 15, 30])
def test_a_row_that_was_removed_is_missed_on_its_day(engine: Engine, three_days: LedgerStore, seq: int) -> None:
    change(engine, sa.delete(entries).where(entries.c.seq == seq))
    assert {fault.day for fault in faults(engine)} == {DAYS[(seq - 1) // 10]}


def test_a_day_that_was_removed_is_missed(engine: Engine, signer: SignerKey) -> None:
    change(engine, sa.delete(entries).where(entries.c.day == DAYS[1]))
    change(engine, sa.delete(rollups).where(rollups.c.day == DAYS[1]))
    change(engine, sa.delete(days).where(days.c.day == DAYS[1]))
    assert DAYS[2] in {fault.day for fault in faults(engine, signer.verifier)}


def test_a_row_that_was_added_is_found(engine: Engine, three_days: LedgerStore) -> None:
    with engine.begin() as connection:
        row = dict(connection.execute(sa.select(entries).where(entries.c.seq == 15)).mappings().one())
        connection.execute(sa.insert(entries).values({**row, "seq": 1000, "line": "2"}))
    assert 1000 in {fault.seq for fault in faults(engine)}


def test_rows_that_changed_places_are_found(engine: Engine, three_days: LedgerStore) -> None:
    with engine.begin() as connection:
        for old, new in ((12, 1000), (13, 12), (1000, 13)):
            connection.execute(sa.update(entries).where(entries.c.seq == old).values(seq=new))
    assert {12, 13} <= {fault.seq for fault in faults(engine)}


def test_a_row_that_was_written_anew_with_all_that_belongs_to_it_is_missed_on_its_day(
    engine: Engine, three_days: LedgerStore
) -> None:
    """Whoever makes a row consistent in itself cannot make the log lead to it."""
    forged = storing.LedgerStore(engine, lambda: NOON)
    [row] = forged._rows([line_of(15, entry(99), NOON + DAY_SECONDS)])
    change(engine, sa.update(entries).where(entries.c.seq == 15).values({**row, "at": NOON + DAY_SECONDS}))
    assert DAYS[1] in {fault.day for fault in faults(engine)}


def test_a_history_that_was_written_anew_is_betrayed_by_its_signatures(engine: Engine, signer: SignerKey) -> None:
    """Whoever can write everything but has no key can build another log; it is unsigned, or signed by another key."""
    another = Signing(NAME, Ed25519PrivateKey.generate())
    store = LedgerStore(engine, lambda: NOON + 3 * DAY_SECONDS, another)
    store.open()
    store.empty(1, discard=True)
    store.write([line_of(n, entry(n), NOON + (n - 1) // 10 * DAY_SECONDS) for n in range(1, 31)])
    assert faults(engine) == []
    assert {fault.day for fault in faults(engine, signer.verifier)} == {DAYS[0], DAYS[1]}


def test_a_signature_of_another_day_is_found(engine: Engine, signer: SignerKey) -> None:
    other = sa.select(days.c.checkpoint).where(days.c.day == DAYS[1]).scalar_subquery()
    change(engine, sa.update(days).where(days.c.day == DAYS[0]).values(checkpoint=other))
    assert [fault.day for fault in faults(engine, signer.verifier)] == [DAYS[0]]


def test_a_closed_day_that_was_opened_again_is_found(engine: Engine, three_days: LedgerStore) -> None:
    change(engine, sa.update(days).where(days.c.day == DAYS[0]).values(root=None, checkpoint=None))
    assert {fault.day for fault in faults(engine)} == {DAYS[0]}


def test_days_without_a_key_are_said_to_be_unsigned(engine: Engine, ledger_url: str) -> None:
    store = LedgerStore(engine, lambda: NOON + 3 * DAY_SECONDS)
    store.open()
    store.write([*lines_of([entry(1)]), *lines_of([entry(2)], 2, NOON + DAY_SECONDS)])
    assert [each.seal for each in reports(engine)] == [Seal.UNSIGNED, Seal.OPEN, Seal.OPEN]


def test_signatures_that_nothing_is_there_to_check_are_said_to_be_unchecked(
    engine: Engine, three_days: LedgerStore
) -> None:
    assert [each.seal for each in reports(engine)][:2] == [Seal.NOT_CHECKED, Seal.NOT_CHECKED]


def test_rows_that_are_too_old_may_be_gone_and_others_may_not(
    engine: Engine, three_days: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "DELETED_AT_ONCE", 4)
    three_days.forget(DAYS[1])  # the first four rows of the first day
    assert {fault.day for fault in faults(engine)} == {DAYS[0]}
    assert [each.deleted for each in reports(engine, first_kept=DAYS[1])] == [True, False, False, False]
    assert faults(engine, first_kept=DAYS[1]) == []
    while three_days.forget(DAYS[1]):
        pass
    assert [each.rows for each in reports(engine, first_kept=DAYS[1])] == [0, 10, 10, 0]
    assert faults(engine, first_kept=DAYS[1]) == []


def test_verifying_sees_one_moment_while_the_writer_goes_on(engine: Engine, three_days: LedgerStore) -> None:
    checking = verify(engine, NAME, None, None)
    assert next(checking).faults == []
    three_days.write([line_of(31, entry(31), NOON + 2 * DAY_SECONDS), line_of(32, entry(32), NOON + 3 * DAY_SECONDS)])
    assert [fault for report in checking for fault in report.faults] == []
    assert faults(engine) == []


def test_a_key_belongs_to_one_log(engine: Engine, signer: SignerKey) -> None:
    with engine.connect() as connection:
        assert signer.verifier.name == f"{NAME}/{identity_of(connection).hex()}"


def test_a_ledger_whose_stream_went_back_is_clean(store: LedgerStore, engine: Engine) -> None:
    """Rows that came since are numbered behind those there are; the writer notes the number that the stream has."""
    store.write(lines_of([entry(number) for number in range(10)]))
    store.rewind(4)
    store.write(lines_of([entry(3), *(entry(number) for number in range(20, 25))], first=4))
    assert faults(engine) == []
