"""Every line becomes a row that both databases take, whatever is in it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_lines import FAILURE, NOON, attempt, entry, line_of

from fleet.ledger.rows import AHEAD_SECONDS, MAX_COUNT, day_of, row_of, sums_of, time_of
from fleet.ledger.tables import TEXT_CHARS, WORD_CHARS, entries
from fleet.model.attempt import Answer, Cached, Hop, Usage
from fleet.model.diet import Diet
from fleet.model.experiment import Assignment
from fleet.model.result import LedgerLine
from fleet.receipts.leaves import ERASABLE, PUBLIC, commitment_of
from queues.wire.ledger import decode_ledger

RECORDED = Path(__file__).parents[1] / "queues" / "wire" / "recorded" / "v0.2" / "ledger.json"
SALT = bytes(16)
DAY = 86_400.0

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
FIELDS = json.loads(RECORDED.read_bytes())


def row(line: LedgerLine, at: float = NOON) -> dict[str, object]:
    return row_of(line, at, SALT)


def said(fields: object, message_id: str | None = None) -> LedgerLine:
    return LedgerLine(9, NOON, "acme", message_id, json.dumps(fields).encode())


def test_a_row_has_every_column_of_the_table() -> None:
    assert set(row(line_of(1, entry()))) == {column.name for column in entries.c}


def test_a_leaf_or_a_commitment_covers_every_column() -> None:
    assert {*PUBLIC, *ERASABLE, "commitment", "leaf"} == {column.name for column in entries.c}


def test_a_row_says_what_its_line_says() -> None:
    line = LedgerLine(9, NOON, "acme", "acme.job-0123456789ab.1.again", RECORDED.read_bytes())
    booked = decode_ledger(line.data)
    assert booked.attempt is not None
    found = row(line)
    assert (found["day"], found["at"], found["tenant"], found["job_id"]) == ("2026-03-01", NOON, "acme", booked.job_id)
    assert (found["line"], found["lane"], found["task"], found["plan"]) == ("1.again", "bulk", booked.task, "paid")
    assert (found["status"], found["reason"], found["attempt"]) == ("failed", "low_confidence", 1)
    assert (found["target"], found["provider"], found["model"]) == ("llama-8b", None, "m")
    assert (found["started_at"], found["ended_at"], found["confidence"]) == (2.0, 3.0, 0.4)
    assert (found["threshold"], found["calibration"], found["probe"], found["repeated"]) == (None, "v1", "sample", True)
    assert (found["cost_nano_usd"], found["input_tokens"], found["output_tokens"]) == (10_000_000, 10, 2)
    assert (found["cached_input_tokens"], found["failure"]) == (0, None)
    assert found["commitment"] == commitment_of(SALT, found, line.data)


def test_a_row_says_which_way_its_job_came() -> None:
    tried = replace(attempt(), provider="openai", hop=Hop(NOON - 2, NOON - 1, 1, "00112233445566ff", 8))
    booked = replace(entry(tried=tried), submitted_at=NOON - 3, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    found = row(line_of(1, replace(booked, person="person-7")))
    assert (found["provider"], found["batch"], found["person"]) == ("openai", "00112233445566ff", "person-7")
    assert (found["submitted_at"], found["traceparent"]) == (NOON - 3, booked.traceparent)


def test_a_row_says_which_adapter_answered() -> None:
    assert row(line_of(1, entry(tried=replace(attempt(), adapter="ab" * 32))))["adapter"] == "ab" * 32
    assert row(line_of(1, entry()))["adapter"] is None


def test_a_row_says_which_arm_of_an_experiment_its_job_is_in() -> None:
    assigned = replace(entry(), assigned=Assignment("cheaper-first", "candidate", 0.1))
    found = row(line_of(1, assigned))
    assert (found["experiment"], found["arm"], found["propensity"]) == ("cheaper-first", "candidate", 0.1)
    assert row(line_of(1, entry()))["experiment"] is None


def test_an_answer_without_a_call_has_the_tokens_it_avoided_and_counts_as_no_attempt() -> None:
    cached = Cached("job-of-before-0123", "llama-70b", NOON - 60, Usage(40, 7))
    again = replace(attempt(target="exact", outcome=Answer({}, "stop", Usage(), "m")), cached=cached)
    written = replace(again, target="pattern", cached=None, avoided=Usage(3, 9))
    rows = [row(line_of(number, entry(number, tried))) for number, tried in enumerate((again, written), 1)]
    avoided = [tuple(each[f"avoided_{name}"] for name in ("target", "input_tokens", "output_tokens")) for each in rows]
    assert avoided == [("llama-70b", 40, 7), (None, 3, 9)]
    assert [each["avoided_at"] for each in rows] == [NOON - 60, None]
    assert [(each["attempts"], each["jobs"], each["input_tokens"]) for each in sums_of(rows)] == [(0, 1, 0)] * 2


@pytest.mark.parametrize(
    ("diet", "columns"),
    [
        (Diet(((2, 8),), 300, (1,), 50), (350, None, None)),
        (Diet(((2, 8),), 300, shadow=True), (None, 300, None)),
        (Diet(tools=(1,), tool_tokens=50, shadow=True, agreed=False), (None, 50, False)),
        (None, (None, None, None)),
    ],
)
def test_a_row_says_what_its_call_left_out(diet: Diet | None, columns: tuple[object, ...]) -> None:
    found = row(line_of(1, entry(tried=replace(attempt(), diet=diet))))
    assert tuple(found[name] for name in ("left_out_tokens", "spare_tokens", "diet_agreed")) == columns


def test_a_failure_has_its_kind_and_no_tokens() -> None:
    found = row(line_of(1, entry(tried=attempt(outcome=FAILURE))))
    assert (found["failure"], found["input_tokens"], found["finish_reason"]) == ("timeout", None, None)


def test_the_end_of_a_job_that_did_not_run_again_is_a_line_of_its_own() -> None:
    found = row(line_of(1, replace(entry(), attempt=None)))
    assert (found["line"], found["attempt"], found["cost_nano_usd"], found["repeated"]) == ("end", None, None, None)


def test_an_end_without_an_attempt_counts_for_the_target_whose_answer_was_delivered() -> None:
    told = replace(entry(tried=attempt(2, "llama-70b")), status=None)
    end = replace(entry(), attempt=None, target="mixtral-8x7b")
    sums = sums_of([row(line_of(1, told)), row(line_of(2, end))])
    assert {each["target"]: (each["attempts"], each["jobs"]) for each in sums} == {
        "llama-70b": (1, 0),
        "mixtral-8x7b": (0, 1),
    }


def test_a_line_of_a_newer_version_is_written_as_far_as_it_is_understood() -> None:
    newer = {**FIELDS, "schema": 2, "reason": "a_new_word", "mood": "good"}
    found = row(said(newer, "acme.job-0123456789ab.1"))
    assert (found["reason"], found["target"], found["cost_nano_usd"]) == ("a_new_word", "llama-8b", 10_000_000)


def test_a_line_of_an_older_version_has_fewer_columns() -> None:
    older = {name: FIELDS[name] for name in ("id", "tenant", "lane", "reason", "status")}
    found = row(said(older, "acme.job-0123456789ab.0"))
    assert (found["reason"], found["status"], found["task"], found["attempt"]) == (
        "low_confidence",
        "failed",
        None,
        None,
    )


@pytest.mark.parametrize("message_id", [None, "globex.job-0123456789ab.1", "acme.", "acme.job-0123456789ab"])
def test_a_line_that_no_dispatcher_sent_shares_its_key_with_no_other(message_id: str | None) -> None:
    found = row(said(FIELDS, message_id))
    assert (found["job_id"], found["line"]) == ("job-0123456789ab", "#9")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\x00", b"[]", b"null", b'{"reason": 5}', b"[" * 100_000, b'{"a": "\\ud800"}']
)
def test_what_holds_no_entry_becomes_a_row_without_a_reason(data: bytes) -> None:
    found = row(LedgerLine(9, NOON, "acme", None, data))
    assert (found["reason"], found["body"]) == (None, data)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*FIELDS, "person", "traceparent"), ANYTHING)))
def test_whatever_a_line_says_its_row_fits_both_databases(fields: dict[str, object]) -> None:
    _check(row(said(fields)))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*FIELDS["attempt"], "hop"), ANYTHING)))
def test_whatever_a_line_says_of_its_attempt_its_row_fits_both_databases(tried: dict[str, object]) -> None:
    _check(row(said({**FIELDS, "attempt": tried})))


def _check(found: dict[str, object]) -> None:
    keys = {"tenant", "job_id", "line", "lane", "plan", "task", "target", "reason", "status", "failure"}
    for name, value in found.items():
        match value:
            case str():
                assert len(value) <= (WORD_CHARS if name in keys else TEXT_CHARS)
                assert "\0" not in value
                value.encode()
            case bool() | bytes() | None:
                pass
            case int():
                assert 0 <= value <= MAX_COUNT
            case float():
                assert math.isfinite(value)
    for sums in sums_of([found]):
        assert None not in sums.values()


def test_text_that_postgresql_cannot_store_is_replaced() -> None:
    found = row(said({**FIELDS, "task": "a\0b<script>\u202e"}))
    assert found["task"] == "a\ufffdb<script>\u202e"


def test_a_clock_that_goes_back_takes_no_line_back() -> None:
    assert time_of(LedgerLine(9, NOON - DAY, "acme", None, b""), before=NOON, now=NOON + 1) == NOON


def test_a_clock_that_jumps_far_ahead_is_not_believed() -> None:
    """Its day would be the day of every line after it."""
    late = LedgerLine(9, NOON + 400 * DAY, "acme", None, b"")
    assert time_of(late, before=NOON, now=NOON + 1) == NOON
    assert time_of(late, before=0.0, now=NOON + 1) == NOON + 1


def test_a_clock_that_is_a_little_ahead_of_ours_is_believed() -> None:
    ahead = LedgerLine(9, NOON + AHEAD_SECONDS / 2, "acme", None, b"")
    assert time_of(ahead, before=NOON, now=NOON) == ahead.stored_at


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=20), st.floats(1e9, 2e9))
def test_days_never_go_back(stored: list[float], now: float) -> None:
    at, days = 0.0, []
    for number, stored_at in enumerate(stored):
        at = time_of(LedgerLine(number, stored_at, "acme", None, b""), at, now)
        days.append(day_of(at))
    assert days == sorted(days)
    assert at <= now + AHEAD_SECONDS


@pytest.mark.parametrize(
    ("started_at", "ended_at"), [(-1.7e308, 1.7e308), (0.0, 1.7e308), (NOON, NOON - 5.0), (NOON, NOON + 40 * 86_400.0)]
)
def test_a_duration_that_only_a_clock_can_make_counts_for_nothing(started_at: float, ended_at: float) -> None:
    """Nor does it stop the writer: an infinite one is no number of microseconds."""
    tried = replace(attempt(), started_at=started_at, ended_at=ended_at)
    [sums] = sums_of([row_of(line_of(1, entry(1, tried)), NOON, b"salt")])
    assert (sums["attempts"], sums["attempt_seconds"]) == (1, 0.0)
