"""The jobs of production that simulated ones stand for, written out where a cache or a pattern looks at their text."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Kind
from fleet.model.job import CLOUD_ALLOW, CLOUD_DENY, Job
from policies.caching.patterns import PatternRules, written_for

MOST_KEPT = 50_000
"""Maximum number of jobs that are kept written out; with more they are all written anew."""

_LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""Digits as letters: a number in a prompt may look like that of a phone or a card."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a job asks: which of its kind's questions, in which wording."""

    kind: int
    number: int
    wording: int


class Requests:
    """Writes out what simulated jobs ask; all that ask the same share one job, so that its key is made once."""

    def __init__(self, mix: Sequence[Kind], patterns: PatternRules) -> None:
        self._mix = mix
        self._listed = [_listed(kind, patterns) for kind in mix]
        self._bounds = [None if kind.prompts is None else list(accumulate(kind.prompts.weights())) for kind in mix]
        self._written: dict[Question | tuple[Question, int], Job] = {}

    def question(self, job: SimulatedJob) -> Question | None:
        """Return what the job asks, drawn from its random bits; None where its kind never asks anything again."""
        bounds, prompts = self._bounds[job.kind], self._mix[job.kind].prompts
        if bounds is None or prompts is None:
            return None
        drawn = (job.bits & 0xFFFFFFFF) / 2**32 * bounds[-1]
        number = min(bisect_right(bounds, drawn), len(bounds) - 1)
        return Question(job.kind, number, (job.bits >> 32) % prompts.wordings)

    def is_listed(self, job: SimulatedJob) -> bool:
        """Return whether an answer to the job's message is written down, if it is all there is to the request."""
        listed = self._listed[job.kind]
        question = self.question(job) if listed else None
        return question is not None and question.number in listed

    def written(self, job: SimulatedJob, question: Question) -> Job:
        """Return the job that asks this; with a thread before it, it is one of its own."""
        key = (question, job.bits) if job.thread else question
        found = self._written.get(key)
        if found is None:
            if len(self._written) >= MOST_KEPT:
                self._written.clear()
            found = self._written[key] = self._write(job, question)
        return found

    def _write(self, job: SimulatedJob, question: Question) -> Job:
        """Return the job as if it came at time zero."""
        kind = self._mix[question.kind]
        before = _thread(job.bits) if job.thread else []
        messages = [*before, {"role": "user", "content": self._text(question)}]
        return Job(
            id=f"{job.bits:016x}",
            tenant=kind.tenant,
            lane=kind.lane,
            task=kind.task,
            plan=kind.plan,
            request={"messages": messages, "temperature": 0},
            submitted_at=0.0,
            tier=kind.tier,
            cloud=CLOUD_ALLOW if kind.cloud else CLOUD_DENY,
            own_key=kind.own_key,
            deadline_at=kind.deadline_seconds,
        )

    def _text(self, question: Question) -> str:
        prompts = self._mix[question.kind].prompts
        if prompts is not None and prompts.texts:
            return prompts.texts[question.number]
        return f"question {question.number} of kind {question.kind} in wording {question.wording}".translate(_LETTERS)


def _listed(kind: Kind, patterns: PatternRules) -> frozenset[int]:
    texts = () if kind.prompts is None else kind.prompts.texts
    return frozenset(
        number for number, text in enumerate(texts) if written_for(kind.tenant, kind.task, text, patterns) is not None
    )


def _thread(bits: int) -> list[Mapping[str, Any]]:
    return [
        {"role": "user", "content": f"what was said before {bits:x}".translate(_LETTERS)},
        {"role": "assistant", "content": "and answered"},
    ]
