"""The life that the benchmark of promises lives is the one that it says."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

from benchmarks.promises import ADAPTERS, DELTA, RISK, STEPS, World, one
from fleet.lab.learning.looks import delta_at


def test_a_life_is_twenty_refits_three_roll_backs_and_two_swaps() -> None:
    assert [STEPS.count(step) for step in "r<>"] == [20, 3, 2]


def test_no_two_thresholds_that_keep_answers_had_the_same_share_of_delta() -> None:
    life = World(1, "simulated", ())
    for step in STEPS[:14]:
        asyncio.run(life.take(step))

    found = [each.calibration for each in life.tested if each.accepted and each.calibration]
    keeping = [each for each in found if each.threshold and each.threshold.value < math.inf]
    numbers = [each.looks.count for each in keeping]
    assert {each.key.adapter for each in keeping} == set(ADAPTERS[:2])
    assert len(numbers) > 3 and all(before < after for before, after in pairwise(numbers))
    assert math.fsum(delta_at(number, DELTA) for number in numbers) < DELTA
    assert life.backs >= 1 and 0.0 < max(life.in_force) < 2 * RISK


def test_at_the_whole_delta_each_time_more_is_kept() -> None:
    spent, alike = (one(3, "simulated", (), alike=alike) for alike in (False, True))
    assert spent.tests <= alike.tests == 20
    assert spent.worst_tested < alike.worst_tested
