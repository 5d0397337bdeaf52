"""What calls leave out of their jobs' requests, by what one dispatcher remembers of threads and tools.

It remembers how each thread went out the last time, by a hash of its messages, and how often the tools of each kind of
job are called. Both are lost when the dispatcher ends: it then takes threads for cold, and sends all tools until it has
counted enough answers again.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Generic, TypeVar

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.model.attempt import Answer, Attempt
from fleet.model.diet import Diet
from fleet.model.experiment import Assignment
from fleet.model.job import Job
from fleet.model.target import Target
from policies.diet.comparing import compared, diet_of_comparison
from policies.diet.decision import Sent, diet_of, diet_of_probe, rules_for
from policies.diet.tools import ToolUse, called_in, name_of
from policies.rules.diet import DietMode, DietRules
from policies.rules.rules import Rules

MAX_TURNS = 50_000
"""Turns of threads that are remembered; one more, and the one that nobody went on with for longest is forgotten."""

MAX_KINDS, MAX_TOOLS = 10_000, 256
"""Kinds of jobs whose tools are counted, and tools of each: names come from outside, and may be new each time."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Recent(OrderedDict[Key, Value], Generic[Key, Value]):
    """A dictionary of the `most` items that were set last."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def note(self, key: Key, value: Value) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class Diets:
    """Decides on the diets of a dispatcher's calls, and counts what their answers show. A bug here costs no answer."""

    def __init__(self, rules_of: Callable[[Assignment | None], Rules]) -> None:
        """Make the keeper; `rules_of` gives the rules of an arm, or those in force."""
        self._rules_of = rules_of
        self._sent = _Recent[bytes, Sent](MAX_TURNS)
        self._uses = _Recent[tuple[str, str], _Recent[str, ToolUse]](MAX_KINDS)

    def prepared(self, inflight: InFlightJob, target: Target, now: float) -> InFlightJob:
        """Return the job as it is about to be called, with its diet if there is one."""
        with contained("diet_not_made", inflight.delivery):
            diet = self._diet(inflight, target, now)
            return inflight if diet is None else replace(inflight, diet=diet)
        return inflight

    def _diet(self, inflight: InFlightJob, target: Target, now: float) -> Diet | None:
        job, attempts, rules = inflight.job, inflight.attempts, self._rules_of(inflight.assigned)
        of_task = rules_for(job, rules)
        if inflight.shadow is not None:
            return diet_of_comparison(inflight.shadow, attempts)
        if of_task.is_off:
            return None
        if inflight.probe is not None:
            return diet_of_probe(job, attempts)
        turns = _turns(job, target) if of_task.threads is not DietMode.OFF else []
        before = next((self._sent[turn] for turn in reversed(turns) if turn in self._sent), None)
        diet = diet_of(job, attempts, target, before, self._unused(job), now, rules)
        if turns:
            left_out = diet.messages if diet is not None and not diet.shadow else ()
            self._sent.note(turns[-1], Sent(left_out, now))
        return diet

    def _rules_for(self, inflight: InFlightJob) -> DietRules:
        return rules_for(inflight.job, self._rules_of(inflight.assigned))

    def _unused(self, job: Job) -> frozenset[str]:
        uses = self._uses.get((job.tenant, job.task))
        return frozenset(name for name, use in uses.items() if use.is_unused) if uses else frozenset()

    def observed(self, inflight: InFlightJob, attempt: Attempt) -> Attempt:
        """Count which tools an answer calls, if its call had them all; return it compared, if it is a comparison."""
        with contained("diet_not_observed", inflight.delivery):
            if self._tells_of_tools(inflight, attempt):
                self._count(inflight.job, attempt, self._rules_for(inflight))
            if inflight.shadow is not None:
                return compared(inflight.shadow, inflight.attempts, attempt)
        return attempt

    def _tells_of_tools(self, inflight: InFlightJob, attempt: Attempt) -> bool:
        of_task = self._rules_for(inflight)
        if of_task.tools is DietMode.OFF or not inflight.job.request.get("tools"):
            return False
        if inflight.shadow is not None and not inflight.shadow.of_diet:
            return False  # it is another target's answer
        earlier = any(_is_of_all_tools(each) for each in inflight.attempts)  # a job counts once
        return not earlier and _is_of_all_tools(attempt) and attempt.confidence != 0.0

    def _count(self, job: Job, attempt: Attempt, rules: DietRules) -> None:
        kind = (job.tenant, job.task)
        if not isinstance(attempt.outcome, Answer):
            return
        called = set(called_in(attempt.outcome.message))
        uses = self._uses.get(kind) or _Recent[str, ToolUse](MAX_TOOLS)
        for name in {name_of(tool) for tool in job.request["tools"]} - {""}:
            uses.note(name, uses.get(name, ToolUse()).after(name in called, rules))
        self._uses.note(kind, uses)


def _is_of_all_tools(attempt: Attempt) -> bool:
    diet = attempt.diet
    return (
        isinstance(attempt.outcome, Answer)
        and attempt.probe is None
        and (diet is None or diet.shadow or not diet.tools)
    )


def _turns(job: Job, target: Target) -> list[bytes]:
    """Return a key of the thread up to each of its messages: a later turn of it begins with the same ones."""
    digest, keys = hashlib.blake2b(f"{job.tenant}.{target.name}.".encode(), digest_size=16), list[bytes]()
    for message in job.request.get("messages") or ():
        digest.update(json.dumps(message, sort_keys=True, default=dict).encode())
        keys.append(digest.digest())
    return keys
