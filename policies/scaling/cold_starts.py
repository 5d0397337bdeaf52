"""The time that a target takes from no replica to its first one: a guess at first, then what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fleet.model.scaling import Capacity, ColdStart, ObservedStart
from fleet.model.target import Target

KEPT = 8
"""Starts that are remembered of a target: enough to outvote odd ones, few enough to follow a new image or machine."""

SAME_SECONDS = 20.0
"""Two starts that were over within so many seconds are one: each dispatcher that looks sees it, at its own time."""

LEAST_SECONDS = 0.1
"""Minimum of a guess in the mean with what was seen."""


def expected(guess_seconds: float, seen: Sequence[ObservedStart]) -> ColdStart:
    """Return the median of the guess and the starts seen: one odd start moves it little, two that agree move it there.

    Of an even number it is the geometric mean of the middle two, for starts are wrong by factors and not by seconds.
    Law: it lies between the least and the greatest of guess and starts.
    """
    if not seen:
        return ColdStart(guess_seconds, 0)
    values = sorted([max(LEAST_SECONDS, guess_seconds), *(max(LEAST_SECONDS, each.seconds) for each in seen)])
    lower, upper = values[(len(values) - 1) // 2], values[len(values) // 2]
    return ColdStart(lower if lower == upper else math.sqrt(lower * upper), len(seen))


def remembered(before: Sequence[ObservedStart], start: ObservedStart) -> tuple[ObservedStart, ...]:
    """Return the starts with this one, the latest last. Of one start seen by several the longest time counts.

    A dispatcher that came later than the start began does not report it, but one that looked late has it shorter.
    """
    same = [each for each in before if abs(each.ready_at - start.ready_at) <= SAME_SECONDS]
    longest = max([*same, start], key=lambda each: each.seconds)
    kept = [each for each in before if each not in same]
    return tuple(sorted([*kept, longest], key=lambda each: each.ready_at)[-KEPT:])


def cold_seconds(target: Target, capacity: Capacity) -> float:
    """Return how long a start of the target is expected to take: as learned, else as the catalogue guesses."""
    if capacity.cold_start is not None:
        return capacity.cold_start.seconds
    return 0.0 if target.serving is None else target.serving.cold_seconds
