"""A dispatcher's reports of its load, read by what decides how many replicas and dispatchers run."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fleet.dispatch.patience import pause
from fleet.logs import get_logger
from fleet.model.attempt import Answer
from fleet.model.delivery import WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Job
from fleet.model.scaling import LaneLoad, Load, ProcessName
from fleet.ports import Clock, LoadBook
from policies.features.needs import tokens_of
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules

log = get_logger(__name__)

REPORT_SECONDS = 1.0

STOPPED: frozenset[str] = frozenset()
"""The targets that a draining dispatcher reports as served: the others need not wait until its last report is old."""

HALF_LIFE_JOBS = 300.0
"""Jobs of a lane after which an earlier one counts half: enough for steady shares, few enough to follow the hour."""

KEPT = 0.5 ** (1 / HALF_LIFE_JOBS)

FORGOTTEN_JOBS = 0.01
"""Tallies of fewer jobs than this are dropped."""


@dataclass(slots=True)
class _Tally:
    """Sums over jobs that all decay at the same rate."""

    jobs: float = 0.0
    tokens: float = 0.0
    slack_seconds: float = 0.0

    def forget(self) -> None:
        self.jobs *= KEPT
        self.tokens *= KEPT
        self.slack_seconds *= KEPT


@dataclass(slots=True)
class _Measure:
    """Sums over answers that decay at the same rate: their tokens as estimated before, and as used."""

    answers: float = 0.0
    estimated: float = 0.0
    used: float = 0.0

    def add(self, estimated: int, used: int) -> None:
        self.answers = self.answers * KEPT + 1.0
        self.estimated = self.estimated * KEPT + estimated
        self.used = self.used * KEPT + used

    @property
    def correction(self) -> float:
        return self.used / self.estimated if self.estimated else 1.0


class Loads:
    """Counts what reports contain. The estimate of a job's tokens is corrected by what answers really used."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._tallies: dict[WorkOf, _Tally] = {}
        self._measures: defaultdict[WorkOf, _Measure] = defaultdict(_Measure)
        self._done: Counter[str] = Counter()
        self._missed: defaultdict[str, float] = defaultdict(float)

    def wanted(self, job: Job, target: str, now: float) -> None:
        """Count a job for its first target, when that is first decided; the job may have to wait for it."""
        for work, tally in list(self._tallies.items()):
            if work.lane is job.lane:
                tally.forget()
                if tally.jobs < FORGOTTEN_JOBS:
                    del self._tallies[work]
        tally = self._tallies.setdefault(WorkOf(target, job.lane), _Tally())
        tally.jobs += 1.0
        tally.tokens += tokens_of(job.request, self._rules.estimates)
        # One deadline in the year 2100 must not make the mean slack of its lane look large.
        tally.slack_seconds += min(deadline_at(job, self._rules) - now, self._rules.lane_seconds[job.lane])

    def missed(self, job: Job, target: str) -> None:
        """Count the tokens of a job that would run on the target if that were not cold."""
        correction = self._measures[WorkOf(target, job.lane)].correction
        self._missed[target] += correction * tokens_of(job.request, self._rules.estimates)

    def answered(self, job: Job, target: str, answer: Answer, probe: bool) -> None:
        """Count an answer; one to a `probe` corrects no estimate, for none was made of the probe's question."""
        used = answer.usage.input_tokens + answer.usage.output_tokens
        self._done[target] += used
        if used and not probe:
            self._measures[WorkOf(target, job.lane)].add(tokens_of(job.request, self._rules.estimates), used)

    def report(self, dispatcher: str, at: float, running: Mapping[WorkOf, int], cpu_share: float) -> Load:
        """Return the report. `running` counts the jobs that run now; `cpu_share` is a share of one core."""
        tokens_running: defaultdict[str, float] = defaultdict(float)
        for work, jobs in running.items():
            tokens_running[work.target] += jobs * self.tokens_per_job(work)
        lanes = {
            work: LaneLoad(tally.jobs, self.tokens_per_job(work), tally.slack_seconds / tally.jobs)
            for work, tally in self._tallies.items()
        }
        return Load(
            dispatcher,
            at,
            lanes,
            tokens_done=dict(self._done),
            tokens_running=dict(tokens_running),
            tokens_missed=dict(self._missed),
            cpu_share=cpu_share,
        )

    def tokens_per_job(self, work: WorkOf) -> float:
        """Return estimated tokens, corrected; the mean used where jobs only come from another target; else a guess."""
        tally, measure = self._tallies.get(work), self._measures[work]
        if tally is not None:
            return measure.correction * tally.tokens / tally.jobs
        return measure.used / measure.answers if measure.answers else self._rules.estimates.output_tokens


Making = Callable[[str, float, float], Load]
"""Makes a report from the dispatcher's id, the time and the share of a core."""


class Reporter:
    """Reports every second while there is news, otherwise only as often as needed to keep the last report fresh."""

    def __init__(
        self,
        book: LoadBook,
        make: Making,
        clock: Clock,
        rules: Rules,
        cpu_seconds: Callable[[], float] = time.process_time,
        process: ProcessName | None = None,
    ) -> None:
        """Set up; `cpu_seconds` returns the CPU time that `process`, by default this one, has used so far."""
        self._book = book
        self._make = make
        self._clock = clock
        self._fresh_seconds = rules.scaling.stale_seconds / 2
        self._cpu_seconds = cpu_seconds
        self._id = uuid.uuid4().hex
        self._process = process or ProcessName(socket.gethostname(), os.getpid(), clock.now())
        self._last: Load | None = None
        self._since = (clock.now(), cpu_seconds())
        self._away = False

    @property
    def id(self) -> str:
        """The dispatcher's name in its reports."""
        return self._id

    async def run(self, stop: asyncio.Event, done: asyncio.Event) -> None:
        """Report until `stop` is set, then report what is still in hand and that no work is taken, until `done` is."""
        while not await pause(stop, REPORT_SECONDS):
            await self.tell()
        if self._last is None or not self._last.serves:
            return
        self._make = _stopped(self._make)
        await self.tell()
        while not await pause(done, REPORT_SECONDS):
            await self.tell()
        await self.tell()

    async def tell(self) -> None:
        """Report what is new. An outage of the broker is logged once."""
        try:
            await self.report()
            self._away = False
        except QueueUnavailable as error:
            if not self._away:
                log.warning("load_not_reported", error=str(error))
            self._away = True

    async def report(self) -> None:
        """Report if there is news or the last report is getting old. Raises `QueueUnavailable`."""
        now, cpu_seconds = self._clock.now(), self._cpu_seconds()
        before, cpu_before = self._since
        cpu_share = max(0.0, cpu_seconds - cpu_before) / max(now - before, REPORT_SECONDS)
        load = replace(self._make(self._id, now, cpu_share), process=self._process)
        if self._last is not None and _same(load, self._last) and now - self._last.at < self._fresh_seconds:
            return
        await self._book.report(load)
        self._last, self._since = load, (now, cpu_seconds)


def _stopped(make: Making) -> Making:
    return lambda dispatcher, at, cpu_share: replace(make(dispatcher, at, cpu_share), serves=STOPPED)


def _same(load: Load, last: Load) -> bool:
    """Return whether the reports differ only in times and CPU share."""
    return replace(load, at=last.at, cpu_share=last.cpu_share, replicas_at=last.replicas_at) == last
