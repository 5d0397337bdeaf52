"""Looks up what the cache has nearest to the questions of jobs, beside the decisions, which never wait.

A job whose question is to be compared waits where jobs wait for the answer to the same request. Nothing here is needed
to answer it: a question that cannot be compared in time is asked of a model.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from fleet.dispatch.containment import contained
from fleet.dispatch.patience import until_stopped
from fleet.logs import get_logger
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import CachedQuestion, Near, Neighbour, Question
from fleet.model.job import Job
from fleet.ports import CachePromiseStore, NearestQuestions, SameAnswerVerifier
from policies.caching.exact import answer_in
from policies.caching.questions import question_in
from policies.caching.signals import CANDIDATES, signals_of
from policies.caching.verifying import is_asked
from policies.features.agreement import identity
from policies.rules.rules import Rules

log = get_logger(__name__)

MOST_WAITING = 256
"""Maximum questions that wait to be compared; beyond, jobs go on without."""

MOST_KNOWN = 4096
"""Maximum jobs whose question has been compared and that have not gone on yet; of the oldest it is forgotten."""

PATIENCE_SECONDS = 0.5
"""Time in which questions are to be compared; then all that wait go on without."""

QUIET_SECONDS = 60.0
"""Interval between log lines about an encoder that is too slow."""

ASKED_AT_ONCE = 32
LEARNED_AT_ONCE = 16
"""Texts encoded together: some 100 ms of one core, for which a question may have to wait."""

JobKey = tuple[str, str]
"""A tenant and a job of it."""

Where = tuple[str, str, str]
"""A tenant, a scope, and the key of an entry there."""


@dataclass(frozen=True, slots=True)
class SemanticCache:
    """What a dispatcher is given for it, if anything: the questions that are compared, what is promised of their
    answers, and the model that is asked about two questions.
    """

    questions: NearestQuestions | None = None
    promises: CachePromiseStore | None = None
    verifier: SameAnswerVerifier | None = None


class LookUps:
    """Follows what is kept, and compares questions with it; without `questions` there is nothing to compare with."""

    def __init__(
        self,
        questions: NearestQuestions | None,
        rules: Rules,
        announce: Callable[[], None],
        verifier: SameAnswerVerifier | None = None,
    ) -> None:
        self._questions = questions
        self._verifier = verifier
        self._verifying: set[asyncio.Task[None]] = set()
        self._rules = rules
        self._announce = announce
        self._asked: deque[tuple[JobKey, Question]] = deque()
        self._waiting: set[JobKey] = set()
        self._compared: dict[JobKey, None] = {}
        self._near: dict[JobKey, Near] = {}
        self._changes: dict[Where, tuple[bool, CachedQuestion]] = {}
        self._handed_on: set[Where] = set()
        self._kept: dict[tuple[str, str], dict[str, CachedQuestion]] = {}
        self._asking, self._learning = asyncio.Event(), asyncio.Event()
        self._quiet_until = -math.inf
        self.landings = 0
        """How many times questions have been compared that jobs may wait for."""

    @property
    def near(self) -> Mapping[JobKey, Near]:
        """What is nearest to the questions of the jobs in hand."""
        return self._near

    @property
    def questions(self) -> int | None:
        """How many cached questions are compared with; None without anything to compare them by."""
        return None if self._questions is None else sum(map(len, self._kept.values()))

    def keep(self, entry: CacheEntry) -> None:
        """Compare questions with this entry's from now on, if it has one."""
        self._change(entry, is_new=True)

    def drop(self, entry: CacheEntry) -> None:
        self._change(entry, is_new=False)

    def _change(self, entry: CacheEntry, is_new: bool) -> None:
        if self._questions is None or entry.question is None or entry.scope is None:
            return
        question = Question(entry.tenant, entry.scope, entry.question)
        changed = CachedQuestion(question, entry.key, identity(answer_in(entry)))
        kept = self._kept.setdefault((entry.tenant, entry.scope), {})
        if is_new and kept.get(entry.key) == changed:
            return  # an entry made here comes back from the bucket
        if is_new:
            kept[entry.key] = changed
        else:
            kept.pop(entry.key, None)
        if not kept:
            del self._kept[entry.tenant, entry.scope]
        which = (entry.tenant, entry.scope, entry.key)
        # Only what it is now is learned: a question that comes and goes meanwhile is not, or there were no end to them.
        self._changes.pop(which, None)
        if is_new or which in self._handed_on:
            self._changes[which] = (is_new, changed)
        self._learning.set()

    def waits(self, job: Job) -> bool:
        """Return whether the job is to wait until its question has been compared, which this begins."""
        key = (job.tenant, job.id)
        if self._questions is None or key in self._compared:
            return False
        if key in self._waiting:
            return True
        question = question_in(job, self._rules)
        if question is None or len(self._waiting) >= MOST_WAITING or (job.tenant, question.scope) not in self._kept:
            return False
        self._waiting.add(key)
        self._asked.append((key, question))
        self._asking.set()
        return True

    def take(self, job: Job) -> Near | None:
        """Return what was nearest to the job's question, and forget it: the job goes on."""
        key = (job.tenant, job.id)
        self._compared.pop(key, None)
        return self._near.pop(key, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Compare and learn until `stop` is set. A bug or a slow encoder costs no job its answer."""
        if self._questions is None:
            return
        try:
            async with asyncio.TaskGroup() as group:
                for working in (self._compare(self._questions), self._learn(self._questions)):
                    group.create_task(until_stopped(working, stop, set()))
        finally:
            for each in self._verifying:
                each.cancel()
            self._questions.close()

    async def _compare(self, questions: NearestQuestions) -> None:
        while True:
            await self._asking.wait()
            self._asking.clear()
            while self._asked:
                with contained("questions_not_compared"):
                    await self._look(questions)

    async def _learn(self, questions: NearestQuestions) -> None:
        while True:
            await self._learning.wait()
            self._learning.clear()
            while self._changes:
                is_new, changed = self._next_changes()
                with contained("questions_not_learned"):
                    await (questions.add(changed) if is_new else questions.remove(changed))

    def _next_changes(self) -> tuple[bool, list[CachedQuestion]]:
        """Take the next few changes of one kind."""
        is_new = next(iter(self._changes.values()))[0]
        alike = takewhile(lambda change: change[1][0] is is_new, self._changes.items())
        taken = list(islice(alike, LEARNED_AT_ONCE))
        for which, _ in taken:
            del self._changes[which]
            (self._handed_on.add if is_new else self._handed_on.discard)(which)
        return is_new, [changed for _, (_, changed) in taken]

    async def _look(self, questions: NearestQuestions) -> None:
        asked = [self._asked.popleft() for _ in range(min(ASKED_AT_ONCE, len(self._asked)))]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await questions.nearest([question for _, question in asked], CANDIDATES)
                # Some questions take milliseconds of words, too: the loop has others' jobs to carry meanwhile.
                near = await asyncio.to_thread(_all_near, [each for _, each in asked], found, questions.encoder)
            asked = self._verify(self._verifier, asked, near, found)
        except TimeoutError:
            asked += self._asked
            self._asked.clear()
            self._complain(len(asked))
        finally:
            self._land([key for key, _ in asked])

    def _verify(
        self,
        verifier: SameAnswerVerifier | None,
        asked: list[tuple[JobKey, Question]],
        near: Sequence[Near | None],
        found: Sequence[Sequence[Neighbour]],
    ) -> list[tuple[JobKey, Question]]:
        """Note what is near, and have the verifier asked about what is alike; return those that do not wait for it."""
        alike: list[tuple[JobKey, tuple[str, str]]] = []
        for (key, question), each, neighbours in zip(asked, near, found, strict=True):
            if each is not None:
                self._near[key] = each
                if verifier is not None and is_asked(each):
                    alike.append((key, (question.text, neighbours[0].text)))
        if verifier is None or not alike:
            return asked
        task = asyncio.create_task(self._heard(verifier, alike))
        self._verifying.add(task)
        task.add_done_callback(self._verifying.discard)
        waiting = {key for key, _ in alike}
        return [each for each in asked if each[0] not in waiting]

    async def _heard(self, verifier: SameAnswerVerifier, alike: Sequence[tuple[JobKey, tuple[str, str]]]) -> None:
        """Note what the verifier says, and let the jobs go on, whatever comes of it."""
        try:
            with contained("questions_not_verified"):
                words = await verifier.same_answers([pair for _, pair in alike])
                for (key, _), word in zip(alike, words, strict=True):
                    if word is not None and key in self._near:
                        self._near[key] = replace(self._near[key], verifier=verifier.name, verified=word)
        finally:
            self._land([key for key, _ in alike])

    def _complain(self, jobs: int) -> None:
        """Say that jobs go on without, at most once a minute: a busy core is late again and again."""
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            log.warning("questions_compared_too_slowly", jobs=jobs, seconds=PATIENCE_SECONDS)

    def _land(self, keys: Sequence[JobKey]) -> None:
        """Let the jobs go on, and forget the oldest of those that never did."""
        self._waiting.difference_update(keys)
        self._compared.update(dict.fromkeys(keys))
        while len(self._compared) > MOST_KNOWN:
            oldest = next(iter(self._compared))
            del self._compared[oldest]
            self._near.pop(oldest, None)
        self.landings += 1
        self._announce()


def _all_near(asked: Sequence[Question], found: Sequence[Sequence[Neighbour]], encoder: str) -> list[Near | None]:
    """Return what is nearest to each question, None where nothing is."""
    return [
        Near(neighbours[0].entry, encoder, signals_of(question.text, neighbours)) if neighbours else None
        for question, neighbours in zip(asked, found, strict=True)
    ]
