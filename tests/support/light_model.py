"""A model without an engine on Ray Serve: everything between `RayServeBackend` and a replica is real."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ray import serve

from fleet.model.attempt import Answer, Usage

TARGET = "llama-8b"


def policy(ctx: Any) -> tuple[int, dict[str, Any]]:
    """Return the present number, or the one an operator holds: the fleet's policy without its rules."""
    held = ctx.config.initial_replicas
    return ctx.target_num_replicas if held is None else held, {}


class LightModel:
    """Answers with its version and the id of its process, after `seconds`."""

    def __init__(self, version: str, seconds: float) -> None:
        self._version = version
        self._seconds = seconds

    async def answer_batch(
        self, requests: Sequence[Mapping[str, Any]], timeouts_seconds: Sequence[float], ids: Sequence[str]
    ) -> AsyncIterator[list[tuple[int, Answer]]]:
        await asyncio.sleep(self._seconds)
        message = {"role": "assistant", "content": f"{self._version} {os.getpid()}"}
        yield [(index, Answer(message, "stop", Usage(1, 1), TARGET)) for index in range(len(requests))]

    async def stop_calls(self, ids: Sequence[str]) -> int:
        return 0


def build(args: Mapping[str, Any]) -> serve.Application:
    """Return the application; `args` are version, seconds, and the Ray `resources` of a replica."""
    deployment = serve.deployment(
        LightModel,
        name=TARGET,
        ray_actor_options={"num_cpus": 0.1, "resources": args.get("resources", {})},
        max_ongoing_requests=100,
        health_check_period_s=2.0,
        graceful_shutdown_timeout_s=30.0,
        graceful_shutdown_wait_loop_s=0.2,
    )
    return deployment.bind(args["version"], args["seconds"])
