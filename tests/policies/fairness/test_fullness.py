"""Streams that fill up: space is kept for what was accepted, and no tenant's jobs keep out all others'."""

from __future__ import annotations

import pytest

from fleet.model.delivery import Fill
from fleet.model.job import Lane
from policies.fairness.fullness import JOBS_SHARE, Waiting, crowding, takes_work


@pytest.mark.parametrize(
    ("size", "brought", "lane", "takes"),
    [
        (0, 0, Lane.BULK, True),
        (490, 0, Lane.BULK, True),
        (490, 20, Lane.BULK, False),
        (500, 0, Lane.STANDARD, False),
        (500, -20, Lane.STANDARD, False),
        (500, 0, Lane.INTERACTIVE, True),
        (600, 100, Lane.INTERACTIVE, False),
    ],
)
def test_half_of_the_stream_of_work_is_kept_for_what_goes_on_from_there(size, brought, lane, takes):
    assert takes_work(Fill(size, 1000), brought, lane) is takes


def test_a_stream_without_a_bound_takes_everything_and_nobody_crowds_it():
    assert takes_work(Fill(10**15, 0), 10**15, Lane.BULK)
    assert crowding(Fill(10**15, 0), {"acme": Waiting(10**6, 1.0)}) == {}


@pytest.mark.parametrize(
    ("size", "waiting", "refused"),
    [
        (750, {"large": Waiting(100, 7.5)}, {}),
        (1000, {"large": Waiting(100, 10.0)}, {"large": 25}),
        (1000, {"unseen": Waiting(100, 0)}, {}),
        (1000, {"unseen": Waiting(1300, 0), "large": Waiting(9, 100.0)}, {"large": 3}),
        (1000, {"large": Waiting(9, 100.0), "many": Waiting(100, 1.0)}, {"large": 3}),
        (1000, {"large": Waiting(50, 10.0), "other": Waiting(40, 10.0)}, {"large": 13, "other": 10}),
        (1000, {f"tenant-{n}": Waiting(10, 1.0) for n in range(100)}, {}),
    ],
)
def test_those_that_take_most_make_room_and_others_are_left_alone(size, waiting, refused):
    assert crowding(Fill(size, 1000), waiting) == refused


@pytest.mark.parametrize("dispatchers", [1, 2, 5])
@pytest.mark.parametrize("rate", [1, 40, 90, 200])
def test_a_flood_of_less_than_a_quarter_of_the_stream_between_readings_keeps_nobody_out(rate, dispatchers):
    limit, ours, theirs = 1000, 0, 0
    for _ in range(200):
        ours = min(ours + rate, limit - theirs)
        assert ours + theirs < limit, "another tenant's job finds room"
        theirs += 1
        counts = {"flood": Waiting(ours, 1.0), "other": Waiting(theirs, 1.0)}
        refused = crowding(Fill(ours + theirs, limit), counts, dispatchers)
        assert refused.keys() <= {"flood"}
        ours -= dispatchers * refused.get("flood", 0)
        assert ours + theirs >= JOBS_SHARE * limit - dispatchers or not refused, "no more is refused than is too much"
        theirs = max(0, theirs - 1)
