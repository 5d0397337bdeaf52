"""The simulated default of Ray Serve decides as Ray Serve's own code does."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ray.serve.autoscaling_policy import _apply_delay_logic
from ray.serve.config import AutoscalingConfig

from fleet.lab.simulation.targets.scaler import LOOK_BACK_SECONDS, RayServeScaler
from fleet.model.scaling import Capacity
from policies.scaling.reading import ReplicaBounds, ScalingInputs

LEAST, MOST, ONGOING, EVERY = 1, 6, 10.0, 5.0
CONFIG = AutoscalingConfig(min_replicas=LEAST, max_replicas=MOST, target_ongoing_requests=ONGOING)


@given(st.lists(st.tuples(st.integers(1, 150), st.floats(0, 80)), min_size=1, max_size=8))
def test_replicas_come_and_go_when_ray_serve_says(stretches: list[tuple[int, float]]) -> None:
    """Each stretch is so many looks with so many requests; what is wanted is there at once."""
    scaler, theirs, ours, state = RayServeScaler(ReplicaBounds(LEAST, MOST), ONGOING), LEAST, LEAST, dict[str, Any]()
    seen: list[tuple[float, float]] = []
    now = 0.0
    for looks, ongoing in stretches:
        for _ in range(looks):
            seen = [each for each in seen if each[0] >= now - LOOK_BACK_SECONDS] + [(now, ongoing)]
            mean = sum(count for _, count in seen) / len(seen)
            wish = max(LEAST, min(MOST, math.ceil(mean / ONGOING)))
            theirs, state = _apply_delay_logic(wish, theirs, CONFIG, state, _now=now)
            ours = scaler.wanted(ScalingInputs(None, (), Capacity(ours), ongoing), now)
            assert ours == theirs
            now += EVERY
