"""What is sent of a prompt, and what of it the provider has in its cache."""

from __future__ import annotations

import math

from fleet.lab.simulation.saving.requests import Requests
from fleet.lab.simulation.workload.ability import DRAWS, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Scenario

WARM_DRAW, TOOLS_DRAW = 60, 61
"""The numbers of the draws that say whether a thread is warm and tools are needed: attempts have the lower ones."""


class SentPrompts:
    """Shortens prompts as the scenario's mechanisms say, and follows the providers' prompt caches.

    A publisher sends a message that is on the operator's list without its thread, for with it a model has to read it.
    """

    def __init__(self, scenario: Scenario, requests: Requests) -> None:
        self._requests = requests
        self._mix = scenario.mix
        self._mechanisms = scenario.mechanisms
        self._used_at: dict[tuple[int, bool, str], float] = {}

    def shorten(self, job: SimulatedJob) -> None:
        """Leave out of the job's prompt what need not be sent."""
        parts = self._mix[job.kind].parts
        if parts is None:
            return
        job.thread = max(0, job.input - parts.instructions - parts.tools - parts.message)
        job.tools = parts.tools
        job.warm = _draw(job, WARM_DRAW) < parts.warm
        whole = job.thread + job.tools
        if (parts.alone and self._mechanisms.alone) or self._requests.is_listed(job):
            job.thread = job.tools = 0
        else:
            self._diet(job)
        job.input = max(1, job.input - whole + job.thread + job.tools)

    def _diet(self, job: SimulatedJob) -> None:
        diet, caches = self._mechanisms.diet, self._mechanisms.prompt_caches
        if diet.tools_kept is not None and _draw(job, TOOLS_DRAW) >= diet.tools_kept:
            job.tools = 0
        if diet.thread_tokens is not None and not (job.warm and caches is not None):
            job.thread = min(job.thread, diet.thread_tokens)

    def cached(self, job: SimulatedJob, target: str, now: float) -> int:
        """Return the tokens of the prompt that the provider reads from its cache, which has them all from now on.

        A warm thread is there with all before it. Instructions and tools are there if any job of the kind used them.
        """
        caches, parts = self._mechanisms.prompt_caches, self._mix[job.kind].parts
        if caches is None or parts is None or target not in caches.targets:
            return 0
        key = (job.kind, job.tools > 0, target)
        used_at, self._used_at[key] = self._used_at.get(key, -math.inf), now
        if job.warm and job.thread:
            cached = job.input - parts.message
        elif now - used_at <= caches.seconds:
            cached = parts.instructions + job.tools
        else:
            cached = 0
        return cached if cached >= caches.least_tokens else 0


def _draw(job: SimulatedJob, number: int) -> float:
    return (hashed(job.bits, number) >> 12) / DRAWS
