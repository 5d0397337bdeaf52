"""A model that only takes time, on a GPU that is only counted: everything around them is real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from deployments.profiles import HEALTH_CHECK_SECONDS
from fleet.model.attempt import Answer, Usage

if TYPE_CHECKING:
    from ray import serve

TARGET: Final = "llama-8b"
PROMPT_TOKENS: Final = 20
ANSWER_TOKENS: Final = 30

MACHINE: Final = {"CPU": 1, "GPU": 1}
"""The resources of a pretend machine, and of a replica: one replica fills one machine."""


class PretendEngine:
    """Answers `jobs_per_second`, whole batches one after the other."""

    def __init__(self, jobs_per_second: float) -> None:
        self._jobs_per_second = jobs_per_second
        self._turn = asyncio.Lock()

    async def answer_batch(
        self, requests: Sequence[Mapping[str, Any]], timeouts_seconds: Sequence[float], ids: Sequence[str]
    ) -> AsyncIterator[list[tuple[int, Answer]]]:
        async with self._turn:
            await asyncio.sleep(len(requests) / self._jobs_per_second)
        answer = Answer(
            {"role": "assistant", "content": "positive"}, "stop", Usage(PROMPT_TOKENS, ANSWER_TOKENS), TARGET
        )
        yield [(index, answer) for index in range(len(requests))]

    async def stop_calls(self, ids: Sequence[str]) -> int:
        return 0


def build(args: Mapping[str, Any]) -> serve.Application:
    """Return the application; `args` has `jobs_per_second`. Serve asks for a placement group, as for a real model."""
    from ray import serve

    deployment = serve.deployment(
        PretendEngine,
        name=TARGET,
        ray_actor_options={"num_cpus": MACHINE["CPU"]},
        placement_group_bundles=[MACHINE],
        max_ongoing_requests=100,
        health_check_period_s=HEALTH_CHECK_SECONDS,
    )
    return deployment.bind(args["jobs_per_second"])
