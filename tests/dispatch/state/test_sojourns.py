"""A dispatcher knows how long jobs take, what queue they found, and what queue there is now."""

from __future__ import annotations

import pytest

from fleet.dispatch.state.sojourns import Sojourns
from fleet.model.delivery import WorkOf
from fleet.model.job import Lane

WORK = WorkOf("llama-8b", Lane.INTERACTIVE)


@pytest.fixture
def sojourns() -> Sojourns:
    """Readings a second apart, in which the queue grows by a hundred each time."""
    known = Sojourns(["llama-8b"])
    for second in range(5):
        known.read(1_000.0 + second, {WORK: 100 * second})
    return known


@pytest.mark.parametrize(
    ("stored_at", "found"),
    [(1_002.0, 200), (1_002.5, 250), (1_002.9, 290), (1_004.0, 400), (1_010.0, 400), (990.0, 0)],
)
def test_a_job_found_the_queue_between_the_readings_before_and_after_it(sojourns, stored_at, found):
    sojourns.answered(WORK, stored_at, 1_011.0, 1_012.0)
    seen = sojourns.of("llama-8b")[Lane.INTERACTIVE]
    assert seen.found == pytest.approx(found)
    assert (seen.seconds, seen.run_seconds) == (1_012.0 - stored_at, 1.0)


def test_the_queue_now_is_that_of_the_last_reading_by_lane(sojourns):
    sojourns.answered(WORK, 1_004.0, 1_004.5, 1_005.0)
    sojourns.read(1_005.0, {WorkOf("llama-8b", Lane.BULK): 9_000, WORK: 7})
    assert sojourns.of("llama-8b")[Lane.INTERACTIVE].waiting == 7
    sojourns.read(1_006.0, {})
    assert sojourns.of("llama-8b")[Lane.INTERACTIVE].waiting == 0


def test_a_job_that_climbs_is_noted_where_it_came_from_until_another_stays(sojourns):
    sojourns.answered(WORK, 1_004.0, 1_004.5, 1_005.0)
    for away in (True, True, False):
        sojourns.turn_away("llama-8b", Lane.INTERACTIVE, away)
        assert sojourns.of("llama-8b")[Lane.INTERACTIVE].turns_away is away
    sojourns.turn_away("served-elsewhere", Lane.INTERACTIVE, True)
    sojourns.turn_away("llama-8b", Lane.BULK, True)
    assert sojourns.of("llama-8b").keys() == {Lane.INTERACTIVE}


def test_without_a_reading_nothing_was_found():
    fresh = Sojourns(["llama-8b"])
    fresh.answered(WORK, 1_000.0, 1_000.5, 1_001.0)
    assert fresh.of("llama-8b")[Lane.INTERACTIVE].found == 0
