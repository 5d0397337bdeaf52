"""A fleet for the console to show: one with a bad night, and one whose every word was chosen by an attacker."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ledger_lines import line_of

from deployments.serve.api import Bounds, Mode, Scaling
from fleet.app import FleetStatus, InForce, Seen, SpendStatus, TargetStatus
from fleet.app.status import open_breakers
from fleet.console.alerts import Alerts, alerts_in
from fleet.console.sources import Sources
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.reading import LedgerReader
from fleet.ledger.store import LedgerStore
from fleet.model.attempt import Answer, Attempt, EngineTimes, Failure, FailureKind, Hop, Judged, Usage
from fleet.model.calibration import (
    Calibration,
    CalibrationKey,
    Fit,
    OutputKind,
    Scorer,
    Threshold,
    ThresholdMode,
)
from fleet.model.delivery import Depths, Fill, JobsOf, WorkOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, Kept, LedgerEntry, Problem, Status
from fleet.model.scaling import Load, ProcessName
from fleet.settings.documents import load_rules

DAY = 86_400.0
NOW = 1_796_094_764.0
"""2026-12-01 03:12:44 UTC."""

RULES = load_rules(None, None, "gpu")

ESCALATED = "job-escalated-00001"
FAILED = "job-failed-00000001"

PROMETHEUS = b"""{"status": "success", "data": {"groups": [{"name": "fleet", "rules": [
 {"name": "FleetBacklogWithoutCapacity", "state": "firing", "labels": {"severity": "critical"}, "annotations": {},
  "alerts": [{"state": "firing", "activeAt": "2026-12-01T02:58:10.1Z",
   "labels": {"alertname": "FleetBacklogWithoutCapacity", "severity": "critical", "target": "llama-70b"},
   "annotations": {"summary": "llama-70b has work and no replica.",
   "runbook_url": "https://fleet.example/alerts#backlog"}}]},
 {"name": "FleetSpendRate", "state": "pending", "labels": {"severity": "warning"},
  "annotations": {"summary": "At this rate the day's limit is gone before midnight."},
  "alerts": [{"state": "pending", "activeAt": "2026-12-01T03:10:00Z", "labels": {"severity": "warning"}}]},
 {"name": "FleetLedgerBehind", "state": "inactive", "labels": {"severity": "warning"},
  "annotations": {"description": "The database of accounts is behind its stream."}, "alerts": []}]}]}}"""


@dataclass
class ConsoleFleet:
    """What the sources of a console give; change it and they give that. `books` None: there is no database."""

    seen: Seen
    in_force: InForce
    letters: Sequence[Kept] = ()
    alerts: Alerts | None = None
    books: LedgerReader | None = None
    broken: Mapping[str, Exception] = field(default_factory=dict)
    """What reading a part raises, by the part's name."""

    def sources(self) -> Sources:
        """Return sources that never wait and have nothing fresh: every page reads anew."""
        ticks = iter(range(10**9))
        return Sources(
            RULES.catalogue,
            self._look,
            self._read_in_force,
            self._read_letters,
            self._open_books,
            None if self.alerts is None else self._read_alerts,
            wall=lambda: NOW,
            monotonic=lambda: 1000.0 * next(ticks),
        )

    async def _look(self) -> Seen:
        self._check("fleet")
        return self.seen

    async def _read_in_force(self) -> InForce:
        self._check("calibrations")
        return self.in_force

    async def _read_letters(self, limit: int, before: int | None = None) -> Sequence[Kept]:
        self._check("letters")
        return [kept for kept in self.letters if before is None or kept.sequence < before][:limit]

    async def _read_alerts(self) -> Alerts:
        self._check("alerts")
        assert self.alerts is not None
        return self.alerts

    def _open_books(self) -> LedgerReader:
        self._check("books")
        assert self.books is not None
        return self.books

    def _check(self, part: str) -> None:
        if part in self.broken:
            raise self.broken[part]


def bad_night(folder: Path, jobs: int = 400) -> ConsoleFleet:
    """Return a busy fleet at 03:12: a breaker open, a target drained, money running out, a promise withdrawn."""
    return ConsoleFleet(
        seen=_seen(),
        in_force=_in_force(),
        letters=[_letter(number) for number in range(930, 900, -1)],
        alerts=alerts_in(PROMETHEUS),
        books=books_of(folder, [*_jobs(jobs), *_escalated(), *_failed()]),
    )


def calm_night(folder: Path) -> ConsoleFleet:
    """Return a fleet in which nothing is wrong and nothing has happened yet."""
    night = _seen()
    targets = tuple(
        replace(each, state="running", replicas=1, queued=0, message=None) for each in night.status.targets[:2]
    )
    status = FleetStatus(
        night.status.nats_url, True, {"JOBS": 0, "WORK": 0}, targets, (SpendStatus(None, 0.0, 0.0, 50.0),)
    )
    loads = [replace(load, shut={}) for load in night.loads]
    seen = Seen(NOW, status, Depths(), loads, {}, 0)
    return ConsoleFleet(seen, InForce({}, {}), books=books_of(folder, []))


def hostile(folder: Path, text: str) -> ConsoleFleet:
    """Return a fleet in which every text that comes from outside the console is this one."""
    found = bad_night(folder / "usual", 0)
    key = CalibrationKey(text, text, text)
    calibration = replace(_calibration(key), version=text, withdrawn=text, model=text)
    # What is no character cannot be written as JSON, so that it never comes as far as the ledger.
    line = text.encode("utf-8", "replace").decode()
    attempt = replace(
        _attempt(1, "llama-8b", Reason.ROUTED, 0.4, 0.7),
        target=line,
        region=line,
        outcome=Answer({}, line, Usage(1, 1), line),
        judged=Judged(0.7, OutputKind.SHORT, line),
    )
    failed = replace(attempt, number=2, outcome=Failure(FailureKind.SERVER_ERROR, line), judged=None)
    entry = LedgerEntry(line, line, Lane.BULK, NOW, Reason.LOW_CONFIDENCE, line, line, None, attempt)
    ended = replace(entry, reason=Reason.ALL_FAILED, status=Status.FAILED, attempt=failed)
    target = TargetStatus(text, text, text, 0, 7, text, 0)
    spend = SpendStatus(text, 60.0, 1.0, 50.0)
    seen = replace(
        found.seen,
        status=FleetStatus(text, False, {text: 3}, (target,), (spend,)),
        loads=[Load(text, NOW, serves=frozenset({text}), shut={text: NOW + 60})],
        depths=Depths({JobsOf(Lane.BULK, text): 5}, {WorkOf(text, Lane.BULK): 7}),
    )
    letter = DeadLetter(text, text, Reason.INVALID, Problem(text, text, text), text.encode("utf-8", "replace"), NOW)
    alerts = found.alerts
    assert alerts is not None
    return ConsoleFleet(
        seen,
        InForce({key: calibration}, {key: calibration}),
        [Kept(1, letter)],
        Alerts(
            [replace(each, name=text, summary=text, labels=text) for each in alerts.firing],
            [replace(each, name=text, summary=text, severity=text) for each in alerts.rules],
        ),
        books_of(folder / "hostile", [entry, ended]),
    )


def books_of(folder: Path, entries: Sequence[LedgerEntry]) -> LedgerReader:
    """Return the reader of a database with these lines, each stored when it was booked."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = engine_for(database_url(f"sqlite:///{folder / 'ledger.sqlite3'}"))
    store = LedgerStore(engine, lambda: NOW)
    store.open()
    lines = [
        line_of(number, entry, entry.at) for number, entry in enumerate(sorted(entries, key=lambda each: each.at), 1)
    ]
    if lines:
        store.write(lines)
    return LedgerReader(engine)


def _seen() -> Seen:
    serves = frozenset({"llama-8b", "mixtral-8x7b", "llama-70b", "gpt-4o", "claude-sonnet"})
    loads = [
        Load(
            f"{name * 8}c0ffee",
            NOW - 1,
            cpu_share=cpu,
            serves=serves,
            shut=shut,
            process=ProcessName(f"node-{name}", 4711, NOW - 86_400),
            held=round(40 * cpu),
            replicas_at=NOW - 2,
        )
        for name, cpu, shut in (
            ("3f", 0.41, {"gpt-4o": NOW + 46}),
            ("b7", 0.38, {}),
            ("e1", 0.62, {"gpt-4o": NOW + 12}),
        )
    ]
    targets = (
        TargetStatus("llama-8b", "fleet", "running", 3, 214, None, 1),
        TargetStatus("mixtral-8x7b", "fleet", "running", 1, 38, None, 0),
        TargetStatus("llama-70b", "fleet", "cold", 0, 61, None, 0),
        TargetStatus("gpt-4o", "openai", "ready", None, 4, breaker=str(open_breakers(loads)["gpt-4o"])),
        TargetStatus("claude-sonnet", "anthropic", "ready", None, 0),
        TargetStatus("llama-3.3-70b-groq", "groq", "no key", None, 0, "set GROQ_API_KEY"),
    )
    work = {("llama-8b", Lane.INTERACTIVE): 6, ("llama-8b", Lane.BULK): 208, ("mixtral-8x7b", Lane.STANDARD): 38}
    work |= {("llama-70b", Lane.STANDARD): 61, ("gpt-4o", Lane.INTERACTIVE): 4}
    depths = Depths(
        {
            JobsOf(Lane.BULK, "acme"): 18_204,
            JobsOf(Lane.STANDARD, "globex"): 31,
            JobsOf(Lane.INTERACTIVE, "initech"): 2,
        },
        {WorkOf(target, lane): jobs for (target, lane), jobs in work.items()},
        jobs_fill=Fill(31, 100),
        work_fill=Fill(4, 100),
    )
    streams = {"JOBS": 18_237, "WORK": 317, "RESULTS": 48_211, "LEDGER": 1_204_377, "DEAD": 31, "FEEDBACK": 870}
    spend = (
        SpendStatus(None, 41.827, 0.31, 50.0),
        SpendStatus("acme", 19.2, 0.31, 20.0),
        SpendStatus("globex", 2.04, 0.0, 25.0),
    )
    bounds = Bounds(1, 4)
    scalings = {
        "llama-8b": Scaling("llama-8b", "running", Mode.AUTOSCALING, 3, 4, bounds, None),
        "mixtral-8x7b": Scaling("mixtral-8x7b", "running", Mode.AUTOSCALING, 1, 1, Bounds(0, 2), None),
        "llama-70b": Scaling("llama-70b", "running", Mode.DRAINED, 0, 0, Bounds(0, 2), None),
    }
    return Seen(NOW, FleetStatus("nats://nats-1:4222", True, streams, targets, spend), depths, loads, scalings, 3)


def _in_force() -> InForce:
    keys = [("llama-8b", "classify", "token"), ("llama-8b", "*", "short"), ("mixtral-8x7b", "extract", "json")]
    found = {CalibrationKey(*key): _calibration(CalibrationKey(*key)) for key in keys}
    found[CalibrationKey(*keys[1])] = replace(
        found[CalibrationKey(*keys[1])], withdrawn="confidences have moved: PSI 0.31 over 2,400 answers"
    )
    lacking = Threshold(ThresholdMode.GUARANTEE, float("inf"), 0.9, 0.05, 0.05, labels_missing=140)
    found[CalibrationKey(*keys[2])] = replace(found[CalibrationKey(*keys[2])], threshold=lacking)
    old = CalibrationKey("llama-70b", "classify", "token")
    return InForce(found, {old: _calibration(old)})


def _calibration(key: CalibrationKey) -> Calibration:
    threshold = Threshold(ThresholdMode.GUARANTEE, 0.742, 0.9, risk=0.05, delta=0.05)
    scorer = Scorer(Fit.PLATT, ("mean",), (1.0,), 0.0)
    return Calibration(
        key, "meta-llama/Llama-3.1-8B-Instruct", "main", "raw_logprobs", "2026-11-28T0214-7c1e", NOW - 3 * DAY, 1_840,
        scorer, "llama-70b", threshold, ece=0.021, good=0.88,
    )  # fmt: skip


def _letter(number: int) -> Kept:
    reason, message = [
        (Reason.ALL_FAILED, "every target failed: gpt-4o answered HTTP 503"),
        (Reason.OUT_OF_MONEY, "the tenant's limit of today is spent, and no target of the fleet could answer"),
        (Reason.TOO_MANY_DELIVERIES, "handed out 12 times without coming to an end"),
    ][number % 3]
    job_id = f"job-{number * 7919 % 10**12:016d}"
    body = b'{"task": "classify.intent", "messages": [{"role": "user", "content": "SECRET PROMPT"}]}'
    letter = DeadLetter("acme", job_id, reason, Problem(message), body, NOW - (930 - number) * 997, Lane.BULK)
    return Kept(number, letter)


def _attempt(number: int, target: str, reason: Reason, confidence: float | None, threshold: float | None) -> Attempt:
    start = NOW - 20 + 2 * number
    judged = None if threshold is None else Judged(threshold, OutputKind.SHORT, "2026-11-28T0214-7c1e")
    cloud = target in ("gpt-4o", "claude-sonnet")
    engine = None if cloud else EngineTimes(start + 0.02, 0.21, 0.08, 0.13, 0.58)
    answer = Answer({}, "stop", Usage(412, 57, 128, 256), f"{target}-2026", engine=engine)
    hop = Hop(start - 0.31, start - 0.04, 1, "9f2c07a1d3e8b654", 6)
    return Attempt(
        number, target, reason, start, start + 0.84, answer, confidence, 0.00214 if cloud else 0.0000117, judged,
        region="us-east-1" if cloud else "eu-central-1", provider="openai" if cloud else "fleet",
        requested_model=target, hop=hop,
    )  # fmt: skip


def _escalated() -> Iterator[LedgerEntry]:
    """Yield the lines of a job that two targets of the fleet were not sure of."""
    steps = (
        ("llama-8b", Reason.ROUTED, 0.412, 0.742, Reason.LOW_CONFIDENCE),
        ("mixtral-8x7b", Reason.LOW_CONFIDENCE, 0.688, 0.742, Reason.LOW_CONFIDENCE),
        ("gpt-4o", Reason.LOW_CONFIDENCE, 0.951, None, Reason.CONFIDENT),
    )
    for number, (target, why, confidence, threshold, then) in enumerate(steps, 1):
        attempt = _attempt(number, target, why, confidence, threshold)
        status = Status.SUCCEEDED if number == 3 else None
        yield LedgerEntry(
            ESCALATED, "acme", Lane.STANDARD, attempt.ended_at, then, "classify.intent", "paid", status, attempt,
            submitted_at=NOW - 18.9, intake=Hop(NOW - 18.88, NOW - 18.6),
        )  # fmt: skip


def _failed() -> Iterator[LedgerEntry]:
    attempt = replace(_attempt(1, "gpt-4o", Reason.PINNED, None, None), cost_usd=0.0)
    attempt = replace(attempt, outcome=Failure(FailureKind.SERVER_ERROR, "openai answered HTTP 503"))
    yield LedgerEntry(
        FAILED, "globex", Lane.INTERACTIVE, attempt.ended_at, Reason.ALL_FAILED, "chat", "paid", Status.FAILED, attempt
    )


def _jobs(count: int) -> Iterator[LedgerEntry]:
    """Yield the lines of jobs of the last eight days, most of them answered by the smallest target."""
    drawn = random.Random(7)
    for number in range(count):
        at = NOW - 60 - (count - number) * 8 * DAY / count
        target, cost = drawn.choices(
            [
                ("llama-8b", 0.00002),
                ("mixtral-8x7b", 0.0001),
                ("llama-70b", 0.0004),
                ("gpt-4o", 0.011),
                ("claude-sonnet", 0.016),
            ],
            weights=[70, 14, 8, 5, 3],
        )[0]
        status, reason = drawn.choices(
            [
                (Status.SUCCEEDED, Reason.CONFIDENT),
                (Status.BEST_EFFORT, Reason.LADDER_EXHAUSTED),
                (Status.FAILED, Reason.ALL_FAILED),
            ],
            weights=[93, 5, 2],
        )[0]
        seconds = drawn.uniform(0.2, 3.0)
        answer = Answer({}, "stop", Usage(drawn.randint(60, 900), drawn.randint(2, 120)), target)
        attempt = Attempt(
            1, target, Reason.ROUTED, at - seconds, at, answer, drawn.uniform(0.5, 1), cost * drawn.uniform(0.5, 2)
        )
        tenant, lane = drawn.choice(("acme", "acme", "globex", "initech")), drawn.choice(list(Lane))
        task = drawn.choice(("classify.intent", "extract.invoice", "chat", "nudge.morning"))
        yield LedgerEntry(
            f"job-{number:016d}", tenant, lane, at, reason, task, "paid", status, attempt,
            submitted_at=at - seconds - drawn.expovariate(1.0),
        )  # fmt: skip
