"""The weeks of one loop: what was answered is recorded once, what becomes of it is decided as dispatchers decide it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from deployments.standins.tasks import TaskExample, is_correct
from fleet.lab.data.choosing import Chooser
from fleet.lab.data.examples import Example, Unusable
from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import fit_all, in_force_after
from fleet.model.action import Finish, Run
from fleet.model.attempt import Answer, Attempt
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.content import Content, answers_in
from fleet.model.experiment import CONTROL, Arm, Experiment, Guardrail, Unit
from fleet.model.job import CLOUD_DENY, Job, Lane, Plan
from fleet.model.view import TargetView, View
from fleet.settings.documents import load_catalogue, read_document, rules_from, shipped
from policies.budget import cost_usd
from policies.confidence.judge import judge
from policies.confidence.lookup import kind_of
from policies.confidence.signals import Evidence
from policies.experiments.arms import merged
from policies.experiments.assignment import assigned
from policies.experiments.evidence import Evidence as Evidence_
from policies.experiments.evidence import Observed
from policies.features.agreement import agree
from policies.plan import next_action
from policies.rules.rules import Rules

TASK, TENANT = "plan.schedule", "acme"
SMALL, STRONG = "llama-8b", "llama-70b"
RISK, DELTA = 0.05, 0.10
DAY_SECONDS, WEEK_SECONDS = 86_400.0, 7 * 86_400.0
START = 1_800_000_000.0

Calibrations = Mapping[CalibrationKey, Calibration]

CHANGES = {
    "phases": {"phase3": {tier: [SMALL, STRONG] for tier in ("simple", "medium", "complex")}},
    "confidence": {"mode": "guarantee", "risk": RISK, "delta": DELTA},
    "tasks": {TASK: {"tier": "medium", "collect": True}},
    "training": {"tenants": [TENANT]},
}


@cache
def rules() -> Rules:
    """Return the shipped rules with a promise for the task, whose answers are collected."""
    path = shipped("policies", "rules.yaml")
    return rules_from(merged(read_document(path), CHANGES), load_catalogue(None, "local"), path)


@dataclass(slots=True)
class Row:
    """A job, the answers of both targets, and that of the small one with the adapter where it was asked."""

    job: Job
    example: TaskExample
    small: Answer
    strong: Answer
    taught: Answer | None = None

    def is_right(self, answer: Answer) -> bool:
        return is_correct(TASK, self.example.answer, answer.text)

    @property
    def is_for_training(self) -> bool:
        return rules().training.has(TENANT, self.job.id)


@dataclass(frozen=True, slots=True)
class Decided:
    """The outcome of a job: its attempts and the one that was delivered."""

    attempts: tuple[Attempt, ...]
    delivered: Attempt
    status: str

    @property
    def escalated(self) -> bool:
        return self.delivered.target == STRONG

    @property
    def usd(self) -> float:
        return sum(each.cost_usd for each in self.attempts)


@dataclass(frozen=True, slots=True)
class Week:
    """The figures of a week: shares of its jobs, and US dollars for a thousand of them."""

    name: str
    jobs: int
    escalated: float
    right: float
    risk: float
    usd_per_thousand: float
    taught: float


def job_of(example: TaskExample, repeat: int, week: int, place: int, of: int) -> Job:
    at = START + (week + place / of) * WEEK_SECONDS
    request = {"messages": list(example.messages), "temperature": 0}
    job_id = f"loop-{repeat}-{week}-{place:06}"
    return Job(
        id=job_id, tenant=TENANT, lane=Lane.BULK, task=TASK, plan=Plan.PAID, request=request, submitted_at=at,
        cloud=CLOUD_DENY,
    )  # fmt: skip


_VIEW = View({name: TargetView() for name in (SMALL, STRONG, "mixtral-8x7b")})


def decide(row: Row, calibrations: Calibrations, adapter: str | None) -> Decided:
    """Take a job through the fleet's decisions; the small target answers it with the adapter, if there is one."""
    attempts: tuple[Attempt, ...] = ()
    while True:
        action = next_action(row.job, attempts, _VIEW, row.job.submitted_at + 1.0, rules())
        if isinstance(action, Finish):
            return Decided(attempts, attempts[action.attempt - 1], str(action.status))
        assert isinstance(action, Run), action
        attempts += (_attempt(row, action, len(attempts) + 1, calibrations, adapter),)


def _attempt(row: Row, action: Run, number: int, calibrations: Calibrations, adapter: str | None) -> Attempt:
    target, at = rules().catalogue.targets[action.target], row.job.submitted_at + 1.0
    digest = adapter if action.target == SMALL else None
    answer = row.strong if action.target == STRONG else row.small if digest is None else row.taught
    assert answer is not None, f"{row.job.id} was not asked with the adapter"
    confidence, judged = judge(answer, row.job, target, calibrations, rules(), digest)
    return Attempt(
        number, target.name, action.reason, at, at, answer, confidence, cost_usd(answer.usage, target), judged,
        provider=target.provider, adapter=digest,
    )  # fmt: skip


def figures(name: str, rows: Sequence[Row], decided: Sequence[Decided]) -> Week:
    n = len(rows)
    right = sum(row.is_right(_answer(each)) for row, each in zip(rows, decided, strict=True))
    lost = sum(is_lost(row, each) for row, each in zip(rows, decided, strict=True))
    taught = sum(each.attempts[0].adapter is not None for each in decided)
    usd = 1000.0 * sum(each.usd for each in decided) / n
    return Week(name, n, sum(each.escalated for each in decided) / n, right / n, lost / n, usd, taught / n)


def is_lost(row: Row, decided: Decided) -> bool:
    """Return whether a wrong answer was kept where the strong one was right: what the promise bounds."""
    return not decided.escalated and not row.is_right(_answer(decided)) and row.is_right(row.strong)


def _answer(decided: Decided) -> Answer:
    assert isinstance(decided.delivered.outcome, Answer)
    return decided.delivered.outcome


def collected(rows: Sequence[Row], decided: Sequence[Decided]) -> list[Example]:
    """Return what may be learnt of these jobs, chosen as `fleet data export` chooses it."""
    chooser = Chooser({}, rules())
    found = (chooser.choose(_content(row, each)) for row, each in zip(rows, decided, strict=True))
    return [each for each in found if not isinstance(each, Unusable)]


def _content(row: Row, decided: Decided) -> Content:
    delivered = _answer(decided)
    answers = answers_in(decided.attempts, delivered)
    job = row.job
    return Content(
        job.id, TENANT, TASK, job.submitted_at, job.request, delivered.message, decided.delivered.target,
        status=decided.status, answers=answers,
    )  # fmt: skip


def labels(rows: Sequence[Row], adapter: str | None) -> Iterator[LabelledAnswer]:
    """Yield labels of the small target's answers: the strong one's says whether they are good."""
    for row in rows:
        answer = row.small if adapter is None else row.taught
        assert answer is not None and answer.features is not None
        kind, good = kind_of(answer, row.job.request), bool(agree(answer, row.strong))
        yield LabelledAnswer(
            SMALL, TASK, kind, f"{TENANT}.{row.job.id}", Evidence(answer.features), good, strong_good=True,
            strong=STRONG, request=row.job.request, adapter=adapter or "",
        )  # fmt: skip


def calibrated(rows: Sequence[Row], adapter: str | None, in_force: Calibrations, now: float) -> Calibrations:
    """Return what is in force after a fit to the labels of these jobs; those for training label nothing."""
    given = list(labels([row for row in rows if not row.is_for_training], adapter))
    return in_force_after(in_force, fit_all(given, in_force, rules(), now))


class RollOut:
    """The roll-out of an adapter: a tenth of the jobs, drawn and judged as dispatchers do."""

    def __init__(self, name: str, digest: str) -> None:
        arm = Arm("taught", 0.1, adapter=digest)
        self.experiment = Experiment(
            name, Unit.JOB, (arm,), name, tasks=frozenset({TASK}), tolerances={Guardrail.QUALITY: RISK}, margin=RISK
        )
        self._digest = digest
        self._evidence = Evidence_(self.experiment)
        self.promoted_at: float | None = None
        self.stopped: str | None = None

    def week(self, rows: Sequence[Row], calibrations: Calibrations) -> list[Decided]:
        """Decide the jobs of a week; the evidence is looked at once a day."""
        decided, looked_at = [], rows[0].job.submitted_at
        for row in rows:
            now = row.job.submitted_at
            if now - looked_at >= DAY_SECONDS and self.promoted_at is None and self.stopped is None:
                looked_at = now
                self._look(now)
            decided.append(self._decide(row, calibrations))
        return decided

    def _look(self, now: float) -> None:
        if (tripped := self._evidence.tripped()) is not None:
            self.stopped = f"{tripped[1].name}: {tripped[1]}"
        elif self._evidence.may_promote("taught"):
            self.promoted_at = now

    def _decide(self, row: Row, calibrations: Calibrations) -> Decided:
        drawn = assigned(row.job, [self.experiment])
        arm = CONTROL if drawn is None else drawn.arm
        taught = self.stopped is None and (arm == "taught" or self.promoted_at is not None)
        found = decide(row, calibrations, self._digest if taught else None)
        self._evidence.observe(_observed(arm, found))
        return found


def _observed(arm: str, decided: Decided) -> Observed:
    kept = decided.delivered
    good = kept.confidence if kept.judged is not None and kept.judged.calibration is not None else None
    return Observed(arm, float(len(decided.attempts)), decided.usd, decided.escalated, kept.confidence == 0.0, good)
