"""Reads each model's number of replicas from Serve's controller."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from deployments.serve.hold import Hold
from fleet.model.errors import BackendUnavailable
from fleet.model.scaling import Capacity

TIMEOUT_SECONDS: Final = 5.0

GIVEN_UP: Final = "DEPLOY_FAILED"

THERE: Final = ("RUNNING", "PENDING_MIGRATION", "UPDATING", "RECOVERING")
"""States of replicas that answer. Replicas that are updated, or found again after the controller's end, are back within
a second; to call their model cold for that long would send its jobs elsewhere.
"""


class ServeCapacities:
    """`fleet.ports.Capacities` of the Ray cluster this process is part of; applications are named like their target."""

    async def read(self) -> Mapping[str, Capacity]:
        details = await asyncio.to_thread(_details)
        try:
            return {name: _capacity(each["deployments"].values()) for name, each in details["applications"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise BackendUnavailable(f"Serve says what runs in another form: {error!r}") from error


def _details() -> Mapping[str, Any]:
    """Return what the dashboard shows. `serve.status()` asks the same without a timeout, and drops the wanted number.

    Raises: BackendUnavailable if Serve does not say.
    """
    import ray
    from ray.serve.context import _get_global_client

    try:
        controller = _get_global_client()._controller
        found: Mapping[str, Any] = ray.get(controller.get_serve_instance_details.remote(), timeout=TIMEOUT_SECONDS)
    except Exception as error:  # Ray, Serve and gRPC have no common ancestor
        raise BackendUnavailable(f"Serve does not say what runs: {type(error).__name__}") from error
    return found


def _capacity(deployments: Any) -> Capacity:
    states = Counter(replica["state"] for each in deployments for replica in each["replicas"])
    running = sum(states[state] for state in THERE)
    return Capacity(running, states["STARTING"], held=any(_held_at_none(each) for each in deployments))


def _held_at_none(deployment: Mapping[str, Any]) -> bool:
    """Return whether nothing starts a replica: no autoscaling, an operator's hold at none, or Serve has given up.

    After three failed starts Serve tries no more until none is wanted for once, or the application is deployed again.
    """
    if deployment.get("status") == GIVEN_UP:
        return True
    autoscaling = deployment["deployment_config"].get("autoscaling_config")
    held = autoscaling is None or Hold.in_force(autoscaling.get("initial_replicas")) is not None
    return held and deployment["target_num_replicas"] == 0
