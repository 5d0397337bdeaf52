"""The tests of a promise: how often, and how much of its delta each may spend, so that it holds over all of them.

A threshold that is fitted again whenever there are more labels is tested again and again, and one lucky test in the
whole history is enough to break the promise: at full delta each, 20 to 60 tests pass wrongly in 16 to 22 % of
histories. So the tests of a key share one delta (alpha spending; Lan & DeMets 1983), whenever they are made, and
with whichever adapter. A roll-back needs none: what it puts in force again has passed its own test.
"""

from __future__ import annotations

import math

from fleet.model.calibration import Looks

GROWTH = 0.25
"""Share of the labels that must be new to make a test worth its delta; from 60 labels to 6,000 these are 21 tests."""


def delta_at(look: int, delta: float) -> float:
    """Return what test number `look`, from 1, may spend: a half, a sixth, a twelfth, ... of `delta`, its whole in sum.

    So the chance that any test ever passes wrongly is at most delta, by the union bound, whatever the tests have in
    common and whenever they are made.
    """
    return delta / (look * (look + 1))


def is_due(looks: Looks, fresh: int, labels: int) -> bool:
    """Return whether enough of the labels are new since the last test; the first test need not wait."""
    return looks.count == 0 or fresh >= math.ceil(GROWTH * labels)
