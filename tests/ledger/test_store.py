"""Each line is in the database once, whatever is repeated, refused or killed; on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_lines import NOON, entry, line_of, lines_of
from sqlalchemy import Engine, select

from fleet.ledger import store as storing
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import AnotherWriter, LedgerStore, Position, first_day_kept
from fleet.ledger.tables import entries
from fleet.model.errors import LedgerUnavailable
from fleet.model.result import LedgerLine, LedgerStream
from fleet.receipts.leaves import commitment_of

DAY = 86_400.0
STREAM = LedgerStream("2026-02-01T00:00:00Z", 1, 100, 100)
TEN = lines_of([entry(number) for number in range(10)])


def reopened(engine: Engine) -> LedgerStore:
    another = LedgerStore(engine, lambda: NOON)
    another.open()
    return another


def test_what_was_written_is_where_another_process_goes_on(store: LedgerStore, engine: Engine) -> None:
    store.follow(STREAM)
    assert store.write(TEN) == 10
    position = LedgerStore(engine, lambda: NOON).open()
    assert replace(position, last_mark=b"") == Position(STREAM.made_at, 10, NOON)
    assert store.has(TEN[-1])
    assert not store.has(TEN[-2])


def test_a_body_lies_there_as_it_came_with_what_stands_for_it(store: LedgerStore, engine: Engine) -> None:
    store.write(TEN[:1])
    with engine.connect() as connection:
        row = dict(connection.execute(select(entries)).mappings().one())
    assert (row["body"], len(row["salt"])) == (TEN[0].data, 16)
    assert row["commitment"] == commitment_of(row["salt"], row, row["body"])


def test_a_line_repeated_after_a_long_time_is_counted_once(store: LedgerStore, reader: LedgerReader) -> None:
    store.write(TEN)
    repeated = lines_of([entry(3), entry(11)], first=11)

    assert store.write(repeated) == 1

    [sums] = reader.attempt_sums((), "2026-03-01", "2026-03-01")
    assert (reader.lines(), sums.lines, reader.state().duplicates, reader.state().last_seq) == (11, 11, 1, 12)


def test_a_job_that_is_submitted_again_under_its_id_is_paid_for_again(store: LedgerStore, reader: LedgerReader) -> None:
    """Its first result is forgotten by then, so it runs once more."""
    once, again = (replace(entry(3), submitted_at=NOON + seconds) for seconds in (0.0, 100_000.0))

    assert store.write(lines_of([once, again])) == 2
    assert store.write(lines_of([again], first=3)) == 0

    [sums] = reader.attempt_sums(("tenant",), "", "9")
    assert (sums.jobs, sums.cost_nano_usd) == (2, 2_000_000)
    assert [line.submitted_at for line in reader.job("acme", once.job_id)] == [again.submitted_at]


def test_a_line_that_is_twice_in_one_batch_is_counted_once(store: LedgerStore, reader: LedgerReader) -> None:
    assert store.write(lines_of([entry(1), entry(1), entry(2)])) == 2
    assert (reader.lines(), reader.days()[0].size) == (2, 2)


def test_two_writers_never_write_the_same_line(store: LedgerStore, engine: Engine, reader: LedgerReader) -> None:
    rival = reopened(engine)
    store.write(TEN[:5])

    with pytest.raises(AnotherWriter, match="another process writes to this database"):
        rival.write(TEN)

    assert (reader.lines(), reader.state().last_seq) == (5, 5)


def test_a_crash_in_the_middle_leaves_nothing_of_a_batch(
    store: LedgerStore, engine: Engine, reader: LedgerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(storing.log, "append", crash)
        with pytest.raises(RuntimeError):
            store.write(TEN)

    assert (reader.lines(), reader.days(), reader.attempt_sums((), "", "9")[0].lines) == (0, [], 0)
    assert reopened(engine).write(TEN) == 10


def test_lines_of_two_days_are_counted_on_their_days(store: LedgerStore, reader: LedgerReader) -> None:
    store.write([*lines_of([entry(1), entry(2)], stored_at=NOON - DAY), *lines_of([entry(3)], first=3)])
    store.write(lines_of([entry(4)], first=4))
    assert [(day.day, day.first_seq, day.last_seq, day.size) for day in reader.days()] == [
        ("2026-02-28", 1, 2, 2),
        ("2026-03-01", 3, 4, 2),
    ]


def test_lines_that_the_stream_lost_are_counted_as_missed(store: LedgerStore, reader: LedgerReader) -> None:
    store.follow(STREAM)
    store.write(TEN)

    assert store.follow(replace(STREAM, first_sequence=14)) == 3
    assert store.position.missed == reader.state().missed == 3


def test_a_stream_that_was_made_again_goes_on_with_higher_numbers(store: LedgerStore, reader: LedgerReader) -> None:
    store.follow(STREAM)
    store.write(TEN)

    again = LedgerStream("2026-03-01T11:00:00Z", 1_000_000, 1_000_009, 10)
    assert store.follow(again) == 0
    assert (reader.state().stream, reader.state().missed) == (again.made_at, 0)


def test_the_database_of_another_stream_is_left_alone(store: LedgerStore) -> None:
    store.follow(STREAM)
    store.write(TEN)
    for last in (5, 500):
        with pytest.raises(LedgerUnavailable, match="this is the database of another stream"):
            store.follow(LedgerStream("2026-03-01T11:00:00Z", 1, last, 5))


def test_rows_of_old_days_go_and_their_sums_stay(
    store: LedgerStore, reader: LedgerReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "DELETED_AT_ONCE", 3)
    old = [*lines_of((entry(n) for n in range(4)), stored_at=NOON - 2 * DAY), line_of(5, entry(5), NOON - DAY)]
    store.write([*old, *lines_of([entry(6)], first=6)])

    kept = first_day_kept(NOON, keep_days=1)
    deleted = [store.forget(kept) for _ in range(4)]

    assert (kept, deleted) == ("2026-02-28", [3, 1, 0, 0])
    assert (reader.lines(), len(reader.days()), len(reader.attempt_sums(("day",), "", "9"))) == (2, 3, 3)


def test_emptying_refuses_to_lose_what_the_stream_no_longer_has(store: LedgerStore, reader: LedgerReader) -> None:
    store.write(TEN)
    with pytest.raises(LedgerUnavailable, match="cannot give back lines before 4: --discard"):
        store.empty(4, discard=False)
    assert reader.lines() == 10

    store.empty(4, discard=True)
    assert (reader.lines(), reader.state().last_seq, reader.days()) == (0, 0, [])
    assert store.write(TEN[3:]) == 7


def test_writing_again_from_the_first_line_gives_the_same_rows(store: LedgerStore, engine: Engine) -> None:
    columns = [column for column in entries.c if column.name not in ("salt", "commitment", "leaf")]
    query = select(*columns).order_by(entries.c.seq)
    lines = [*TEN, line_of(11, entry(3)), LedgerLine(12, NOON, "mallory", None, b"\xff")]

    def written() -> list[tuple[object, ...]]:
        store.write(lines)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query)]

    first = written()
    store.empty(1, discard=False)
    assert written() == first
