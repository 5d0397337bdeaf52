"""An operator's hold on a number of replicas, as `fleet scale` writes it in a configuration and the policies read it.

A target that is held at N has in its `autoscaling_config`

    min_replicas = initial_replicas = N, max_replicas = max(N, 1), aggregation_function = min, before = {what was there}

`initial_replicas` makes Serve go to N at once, and tells the scaling policy to stay there: Serve knows no maximum of 0.
With no replica, Serve itself starts one for any request without asking a policy, and decides by the mean of the last
half minute. The minimum of that time is 0 a few seconds after the last request, and stays 0 for a stray one.
`before` is ours; Serve keeps what it does not know (Ray 2.60: `DeploymentSchema.autoscaling_config` is a dict).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BEFORE = "before"

FIELDS = ("min_replicas", "max_replicas", "initial_replicas", "aggregation_function")
"""Fields that are set to hold a target, and restored to release it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The number of replicas that an operator holds a target at."""

    replicas: int

    @classmethod
    def declared_in(cls, autoscaling: Mapping[str, Any]) -> Hold | None:
        """Return the hold in an `autoscaling_config` that was sent to Serve, or None if autoscaling decides."""
        return cls(autoscaling["initial_replicas"]) if BEFORE in autoscaling else None

    @classmethod
    def in_force(cls, initial_replicas: int | None) -> Hold | None:
        """Return the hold that Serve acts by, or None; its own configuration has no `before`.

        Nothing else sets `initial_replicas` (`deployments.serve.declared`).
        """
        return None if initial_replicas is None else cls(initial_replicas)

    def on(self, autoscaling: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `autoscaling_config` with this hold, in place of another one if there was one."""
        free = released(autoscaling)
        return {
            **free,
            "min_replicas": self.replicas,
            "max_replicas": max(self.replicas, 1),
            "initial_replicas": self.replicas,
            "aggregation_function": "min",
            BEFORE: {name: free[name] for name in FIELDS if name in free},
        }


def released(autoscaling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `autoscaling_config` without a hold: as it was before, or as it is."""
    before = autoscaling.get(BEFORE, autoscaling)
    kept = {name: value for name, value in autoscaling.items() if name not in (*FIELDS, BEFORE)}
    return {**kept, **{name: before[name] for name in FIELDS if name in before}}
