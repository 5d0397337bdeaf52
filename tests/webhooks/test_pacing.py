"""What one endpoint may take of a process, and when the rest has its turn."""

from __future__ import annotations

import pytest

from fleet.webhooks.pacing import FIRST_SECONDS, MOST_SECONDS, SLOTS, Pace
from policies.webhooks import WebhookReply

OK, FAILED = WebhookReply(200), WebhookReply(problem="timeout")


def full(pace: Pace, now: float = 0.0, slots: int = SLOTS) -> Pace:
    assert [pace.begin(now) for _ in range(slots)] == [0.0] * slots
    return pace


def test_an_endpoint_has_so_many_slots_and_no_more() -> None:
    assert full(Pace()).begin(0.0) > 0


def test_a_slot_is_free_again_after_its_attempt() -> None:
    pace = full(Pace())
    pace.end(OK, 0.1)
    assert pace.begin(0.1) == 0.0


def test_what_finds_no_slot_is_put_off_one_behind_the_other() -> None:
    pace = full(Pace())
    turns = [pace.begin(0.0) for _ in range(40)]
    assert turns == sorted(turns)
    assert turns[-1] == pytest.approx(40 * FIRST_SECONDS / SLOTS)


def test_an_endpoint_that_fails_has_one_slot_until_it_answers() -> None:
    pace = full(Pace())
    for _ in range(SLOTS):
        pace.end(FAILED, 20.0)
    full(pace, slots=1)
    assert pace.begin(0.0) > 0
    pace.end(OK, 0.1)
    full(pace)


def test_a_slow_endpoint_has_its_turns_further_apart_but_never_out_of_sight() -> None:
    pace = Pace()
    for _ in range(50):
        full(pace, slots=1)
        pace.end(FAILED, 20.0)
    full(pace, slots=1)
    turns = [pace.begin(0.0) for _ in range(1000)]
    assert turns[1] - turns[0] > 19
    assert turns[-1] == MOST_SECONDS


def test_a_pause_holds_everything_up_to_its_end() -> None:
    pace = Pace()
    pace.pause(30.0)
    assert pace.begin(0.0) > 30
    assert pace.begin(30.0) == 0.0


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    pace = Pace()
    pace.pause(30.0)
    pace.pause(0.0)
    assert pace.begin(10.0) > 0


def test_it_is_idle_when_nothing_runs_and_nobody_has_a_turn() -> None:
    pace = Pace()
    assert pace.is_idle(0.0)
    full(pace)
    later = pace.begin(0.0)
    for _ in range(SLOTS):
        pace.end(OK, 0.1)
    assert not pace.is_idle(0.0)
    assert pace.is_idle(later)
