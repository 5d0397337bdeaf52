"""What is asked of the database, on SQLite and on PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ledger_lines import FAILURE, NOON, attempt, entry, job_id, line_of, lines_of

from fleet.ledger.database import check_migrated
from fleet.ledger.reading import EndedFilter, LedgerReader, open_reader
from fleet.ledger.store import LedgerStore
from fleet.model.errors import LedgerUnavailable
from fleet.model.reason import Reason
from fleet.model.result import LedgerLine, Status

DAY = 86_400.0
ESCALATED = (
    entry(1, attempt(1), None, reason=Reason.LOW_CONFIDENCE),
    entry(1, attempt(2, "gpt-4o", cost_usd=0.02), Status.SUCCEEDED),
)
OTHERS = (
    entry(2, attempt(1, outcome=FAILURE, cost_usd=0.0), Status.FAILED, reason=Reason.ALL_FAILED),
    entry(1, attempt(1), Status.SUCCEEDED, tenant="globex"),
)


def test_a_job_is_read_back_line_by_line_as_it_was_booked(store: LedgerStore, reader: LedgerReader) -> None:
    store.write(lines_of([*ESCALATED, *OTHERS]))

    read = reader.job("acme", job_id(1))

    assert [(each.attempt and each.attempt.target, each.status) for each in read] == [
        ("llama-8b", None),
        ("gpt-4o", Status.SUCCEEDED),
    ]
    assert [each.tenant for each in reader.job(None, job_id(1))] == ["acme", "acme", "globex"]
    assert reader.job("globex", job_id(2)) == []


def test_a_line_that_this_version_cannot_read_does_not_hide_the_others(
    store: LedgerStore, reader: LedgerReader
) -> None:
    newer = line_of(1, ESCALATED[0])
    store.write([replace(newer, data=newer.data.replace(b'"schema":1', b'"schema":2')), line_of(2, ESCALATED[1])])

    assert [each.attempt and each.attempt.number for each in reader.job("acme", job_id(1))] == [2]


def test_ended_jobs_are_listed_from_the_newest_on_and_page_by_page(store: LedgerStore, reader: LedgerReader) -> None:
    store.write(lines_of([*ESCALATED, *OTHERS]))

    first = reader.ended(EndedFilter(), limit=2)
    rest = reader.ended(EndedFilter(), before_seq=first[-1].seq)

    assert [(each.tenant, each.job_id, each.status) for each in (*first, *rest)] == [
        ("globex", job_id(1), "succeeded"),
        ("acme", job_id(2), "failed"),
        ("acme", job_id(1), "succeeded"),
    ]
    assert (rest[0].target, rest[0].provider, rest[0].cost_nano_usd) == ("gpt-4o", "openai", 20_000_000)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EndedFilter(status="failed"), [2]),
        (EndedFilter(reason="all_failed"), [2]),
        (EndedFilter(tenant="acme"), [2, 1]),
        (EndedFilter(target="gpt-4o"), [1]),
        (EndedFilter(lane="bulk", tenant="globex"), [1]),
        (EndedFilter(lane="interactive"), []),
    ],
)
def test_ended_jobs_are_listed_by_what_they_ended_with(
    store: LedgerStore, reader: LedgerReader, wanted: EndedFilter, expected: list[int]
) -> None:
    store.write(lines_of([*ESCALATED, *OTHERS]))
    assert [each.job_id for each in reader.ended(wanted)] == [job_id(number) for number in expected]


def test_a_word_that_no_database_stores_is_found_as_it_was_stored(store: LedgerStore, reader: LedgerReader) -> None:
    store.write(lines_of([replace(ESCALATED[-1], tenant="ac\x00me")]))
    for word in ("ac\x00me", "ac\ud800me"):
        [found] = reader.ended(EndedFilter(tenant=word))
        assert found.tenant == "ac\N{REPLACEMENT CHARACTER}me"
        assert reader.ended(EndedFilter(tenant=word, status="failed")) == []
        assert reader.job(word, "\x00") == []


def test_jobs_that_ended_with_two_words_are_found_over_days_and_pages(store: LedgerStore, reader: LedgerReader) -> None:
    ends = [
        entry(
            number,
            attempt(1),
            (Status.SUCCEEDED, Status.FAILED)[number % 3 == 0],
            tenant=("acme", "globex")[number % 2],
        )
        for number in range(1, 25)
    ]
    store.write([line_of(number, end, NOON + DAY * (number // 5)) for number, end in enumerate(ends, 1)])
    expected = [end.job_id for end in reversed(ends) if (end.tenant, end.status) == ("globex", Status.FAILED)]

    first = reader.ended(EndedFilter(tenant="globex", status="failed"), limit=3)
    rest = reader.ended(EndedFilter(tenant="globex", status="failed"), before_seq=first[-1].seq)

    assert [each.job_id for each in (*first, *rest)] == expected
    assert (len(first), len(rest)) == (3, 1)


def test_sums_are_by_whatever_columns_are_asked_for(store: LedgerStore, reader: LedgerReader) -> None:
    store.write(lines_of([*ESCALATED, *OTHERS]))
    day = "2026-03-01"

    [every] = reader.attempt_sums((), day, day)
    by_target = {sums.group["target"]: sums for sums in reader.attempt_sums(("target",), day, day)}

    assert (every.lines, every.attempts, every.jobs, every.failures) == (4, 4, 3, 1)
    assert every.cost_nano_usd == 22_000_000
    assert (every.input_tokens, every.cached_input_tokens, every.reasoning_tokens) == (300, 180, 15)
    assert (by_target["llama-8b"].attempts, by_target["gpt-4o"].cost_nano_usd) == (3, 20_000_000)
    assert by_target["gpt-4o"].attempt_seconds == pytest.approx(0.5)


def test_sums_are_of_the_days_asked_for(store: LedgerStore, reader: LedgerReader) -> None:
    store.write([line_of(1, ESCALATED[0], NOON - DAY), line_of(2, ESCALATED[1])])

    assert [each.group for each in reader.attempt_sums(("day",), "2026-02-28", "2026-03-01")] == [
        {"day": "2026-02-28"},
        {"day": "2026-03-01"},
    ]
    assert reader.attempt_sums(("day",), "2026-03-02", "2026-03-09") == []
    assert [(each.day, each.first_seq, each.last_seq) for each in reader.days()] == [
        ("2026-02-28", 1, 1),
        ("2026-03-01", 2, 2),
    ]


def test_a_line_that_nobody_can_read_is_counted_and_kept(store: LedgerStore, reader: LedgerReader) -> None:
    store.write([LedgerLine(7, NOON, "mallory", None, b"\xff\x00")])

    assert (reader.lines(), reader.state().unreadable, reader.state().last_seq) == (1, 1, 7)


def test_a_database_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with (
        pytest.raises(LedgerUnavailable, match="no such file: `fleet ledger run` makes it"),
        open_reader(f"sqlite:///{path}"),
    ):
        raise AssertionError("there is nothing to read")
    assert not path.exists()


def test_a_database_without_tables_says_who_makes_them(reader: LedgerReader, engine, ledger_url: str) -> None:
    if ledger_url.startswith("sqlite"):
        Path(ledger_url.removeprefix("sqlite:///")).touch()
    with pytest.raises(LedgerUnavailable, match="start `fleet ledger run` of this version"):
        check_migrated(engine)
