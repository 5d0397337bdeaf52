"""What is sent of a prompt by production's rules of the diet, and what of it the provider has in its cache."""

from __future__ import annotations

import math

from fleet.lab.simulation.saving.requests import Requests
from fleet.lab.simulation.workload.ability import DRAWS, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.prompts import Parts
from fleet.lab.simulation.workload.scenario import Scenario
from policies.diet import threads
from policies.diet.tools import ToolUse
from policies.rules.diet import DietMode, DietRules
from policies.rules.rules import Rules

WARM_DRAW, TOOLS_DRAW = 60, 61
"""The numbers of the draws that say whether a thread is warm and tools are called: attempts have the lower ones."""


class SentPrompts:
    """Shortens prompts as the rules say, and follows the providers' prompt caches.

    A publisher sends a message that is on the operator's list without its thread, for with it a model has to read it.
    """

    def __init__(self, scenario: Scenario, rules: Rules, requests: Requests) -> None:
        self._requests = requests
        self._parts = [kind.parts for kind in scenario.mix]
        self._diets = [rules.tasks[kind.task].diet for kind in scenario.mix]
        self._mechanisms = scenario.mechanisms
        self._tool_use = [ToolUse() for _ in scenario.mix]
        self._dropped: dict[tuple[int, int], int] = {}
        self._used_at: dict[tuple[int, bool, str], float] = {}

    def shorten(self, job: SimulatedJob) -> None:
        """Leave out of the job's prompt what need not be sent."""
        parts = self._parts[job.kind]
        if parts is None:
            return
        job.thread = max(0, job.input - parts.instructions - parts.tools - parts.message)
        job.tools = parts.tools
        job.warm = _draw(job, WARM_DRAW) < parts.warm
        whole = job.thread + job.tools
        if (parts.alone and self._mechanisms.alone) or self._requests.is_listed(job):
            job.thread = job.tools = 0
        else:
            self._trim(job, parts)
            self._leave_tools(job, parts)
        job.input = max(1, job.input - whole + job.thread + job.tools)

    def _trim(self, job: SimulatedJob, parts: Parts) -> None:
        """Cut the thread; a warm one as it was cut a turn ago."""
        rules, turns = self._diets[job.kind], job.thread // parts.turn
        if not turns or rules.threads is not DietMode.ON or not self._mechanisms.trimming:
            return
        key = job.kind, turns - 1 if job.warm else turns
        if key not in self._dropped:
            self._dropped[key] = dropped_tokens(parts, key[1], rules)
        job.thread -= self._dropped[key]

    def _leave_tools(self, job: SimulatedJob, parts: Parts) -> None:
        """Leave out tools that are known to be unused; a job that would call one is asked once more, with all."""
        rules, use = self._diets[job.kind], self._tool_use[job.kind]
        if not parts.tools or rules.tools is not DietMode.ON or not self._mechanisms.tools:
            return
        is_called = _draw(job, TOOLS_DRAW) < parts.tool_use
        job.again = use.is_unused and is_called
        if use.is_unused and not is_called:
            job.tools = 0
        else:
            self._tool_use[job.kind] = use.after(is_called, rules)

    def cached(self, job: SimulatedJob, target: str, now: float) -> int:
        """Return the tokens of the prompt that the provider reads from its cache, which has them all from now on.

        Of a warm thread all is there but the last turn's answer and the new message. Instructions and tools are there
        if any job of the kind used them.
        """
        caches, parts = self._mechanisms.prompt_caches, self._parts[job.kind]
        if caches is None or parts is None or target not in caches.targets:
            return 0
        key = (job.kind, job.tools > 0, target)
        used_at, self._used_at[key] = self._used_at.get(key, -math.inf), now
        if job.warm and job.thread >= parts.turn:
            cached = job.input - parts.turn
        elif now - used_at <= caches.seconds:
            cached = parts.instructions + job.tools
        else:
            cached = 0
        return cached if cached >= caches.least_tokens else 0


def dropped_tokens(parts: Parts, turns: int, rules: DietRules) -> int:
    """Return the tokens that production leaves out of a thread of so many turns before the message."""
    turn = [{"role": "user"}, {"role": "assistant"}]
    messages = [{"role": "system"}, *(turn * turns), {"role": "user"}]
    tokens = [parts.instructions, *([parts.message, parts.turn - parts.message] * turns), parts.message]
    left_out = threads.cut(threads.thread_of(messages), tokens, rules.thread_tokens, rules.trim_to)
    return threads.tokens_in(left_out, tokens)


def _draw(job: SimulatedJob, number: int) -> float:
    return (hashed(job.bits, number) >> 12) / DRAWS
