"""Answers without a call: production's own rules of patterns and the exact cache, and a semantic cache by its shares.

All dispatchers follow one bucket, so the entries are everyone's; equal jobs wait for each other whichever has them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.lab.simulation.saving.requests import Question, Requests
from fleet.lab.simulation.workload.ability import DRAWS, hashed
from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Scenario
from fleet.model.action import Finish, GiveUp
from fleet.model.attempt import Attempt
from fleet.model.cache_entry import CacheEntry
from fleet.model.job import Job
from fleet.model.view import View
from policies.caching import exact, patterns
from policies.caching.questions import question_of
from policies.features.needs import needs_of
from policies.resilience.deadline import deadline_at
from policies.routing.tiers import ladder
from policies.rules.ladders import Ladder
from policies.rules.rules import Rules

SEMANTIC_DRAW = 62
"""The number of the draw that a semantic cache goes by: attempts have the lower ones."""

EntryKey = tuple[str, str]


class KnownBy(StrEnum):
    """Who answered without a call. COALESCED: another job, which ran at the time."""

    PATTERN = "pattern"
    EXACT = "exact"
    COALESCED = "coalesced"
    SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    by: KnownBy
    is_right: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """A job whose answer may be known: what it asks, as production sees it, its ladder and the key of its entry."""

    question: Question
    job: Job
    rungs: Ladder
    key: EntryKey | None


class KnownAnswers:
    """Answers simulated jobs that need no call, and lets equal ones wait for each other."""

    def __init__(self, scenario: Scenario, rules: Rules, requests: Requests) -> None:
        self._mechanisms = scenario.mechanisms
        self._keeps = scenario.mechanisms.exact or scenario.mechanisms.semantic is not None
        self._rules = rules
        self._requests = requests
        self._asked: dict[SimulatedJob, _Asked] = {}
        self._entries: dict[str, dict[EntryKey, CacheEntry]] = defaultdict(dict)
        self._right: dict[EntryKey, bool] = {}
        self._latest: dict[tuple[int, int], EntryKey] = {}
        self._waiting: dict[EntryKey, dict[SimulatedJob, None]] = {}
        self._leaders: dict[EntryKey, SimulatedJob] = {}

    def answer(self, job: SimulatedJob, now: float) -> KnownAnswer | None:
        """Return the answer that the job gets without a call, if there is one."""
        asked = self._ask(job)
        if asked is None:
            return None
        if patterns.answer_to(asked.job, self._rules.patterns) is not None:
            return self._found(job, KnownAnswer(KnownBy.PATTERN, True))
        if asked.key is None:
            return None
        entries = self._entries[asked.job.tenant]
        is_kept = exact.known_answer(asked.job, asked.rungs, View(entries=entries), now, self._rules) is not None
        if is_kept and self._mechanisms.exact:
            is_new = entries[asked.key].answered_at > job.arrived_at
            by = KnownBy.COALESCED if is_new else KnownBy.EXACT
            return self._found(job, KnownAnswer(by, self._right[asked.key]))
        return self._alike(job, asked, entries, now)

    def _ask(self, job: SimulatedJob) -> _Asked | None:
        asked = self._asked.get(job)
        question = self._requests.question(job)
        if asked is None and question is not None:
            written = self._requests.written(job, question)
            rungs = ladder(written, needs_of(written.request, self._rules.estimates), self._rules)
            key = exact.key_of(written, self._rules, rungs) if self._keeps else None
            asked = self._asked[job] = _Asked(question, written, rungs, None if key is None else (written.tenant, key))
        return asked

    def _alike(
        self, job: SimulatedJob, asked: _Asked, entries: Mapping[EntryKey, CacheEntry], now: float
    ) -> KnownAnswer | None:
        """Let the semantic cache answer as often as it was measured to, rightly or with another question's answer."""
        semantic = self._mechanisms.semantic
        if semantic is None or not entries or question_of(asked.job.request["messages"]) is None:
            return None
        drawn = (hashed(job.bits, SEMANTIC_DRAW) >> 12) / DRAWS
        if drawn < semantic.wrong:
            return self._found(job, KnownAnswer(KnownBy.SEMANTIC, False))
        latest = self._latest.get((asked.question.kind, asked.question.number))
        entry = None if latest is None else entries.get(latest)
        if latest is None or entry is None or now >= entry.expires_at:
            return None
        if latest != asked.key and drawn >= semantic.wrong + semantic.found:
            return None
        return self._found(job, KnownAnswer(KnownBy.SEMANTIC, self._right[latest]))

    def _found(self, job: SimulatedJob, answer: KnownAnswer) -> KnownAnswer:
        del self._asked[job]
        return answer

    def wait(self, job: SimulatedJob, now: float) -> float | None:
        """Let the job wait for an equal one that runs; return until when at most, or None if it has to ask a model.

        Equal jobs that come later wait for one that asks.
        """
        asked = self._asked.get(job)
        if asked is None or asked.key is None or not (self._mechanisms.exact and self._mechanisms.coalesced):
            return None
        if self._leaders.setdefault(asked.key, job) is job:
            return None
        if not exact.waits_for_another(asked.job, now - job.arrived_at, self._rules):
            return None
        self._waiting.setdefault(asked.key, {})[job] = None
        return job.arrived_at + exact.PATIENCE * deadline_at(asked.job, self._rules)

    def stop_waiting(self, job: SimulatedJob) -> bool:
        """Let the job wait no longer; return whether it still did."""
        asked = self._asked.get(job)
        waiting = {} if asked is None or asked.key is None else self._waiting.get(asked.key, {})
        return waiting.pop(job, job) is None

    def ended(
        self, job: SimulatedJob, action: Finish | GiveUp, attempts: tuple[Attempt, ...], now: float
    ) -> list[SimulatedJob]:
        """Keep the job's answer if production would; return the jobs that waited for it."""
        asked = self._asked.pop(job, None)
        if asked is None or asked.key is None:
            return []
        if isinstance(action, Finish):
            self._keep(job, asked, asked.key, action, attempts, now)
        if self._leaders.get(asked.key) is not job:
            return []
        del self._leaders[asked.key]
        return list(self._waiting.pop(asked.key, {}))

    def _keep(
        self,
        job: SimulatedJob,
        asked: _Asked,
        key: EntryKey,
        action: Finish,
        attempts: tuple[Attempt, ...],
        now: float,
    ) -> None:
        entry = exact.entry_of(asked.job, key[1], action, attempts, now, self._rules)
        if entry is None:
            return
        entries = self._entries[entry.tenant]
        entries.pop(key, None)
        entries[key] = replace(entry, job_id="")  # equal questions are one and the same job here
        if len(entries) > self._rules.cache.entries:
            oldest = next(iter(entries))
            del entries[oldest], self._right[oldest]
        self._right[key] = bool(job.rights >> (action.attempt - 1) & 1)
        self._latest[asked.question.kind, asked.question.number] = key
