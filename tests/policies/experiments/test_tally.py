"""Lines of the ledger as evidence: a job counts for the arm it was drawn into, whatever becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.model.attempt import Answer, Attempt, Failure, FailureKind, Judged, Usage
from fleet.model.calibration import OutputKind, Probe
from fleet.model.experiment import CONTROL, Arm, Assignment, Experiment, Unit
from fleet.model.feedback import Feedback, Verdict
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from policies.experiments import tally
from policies.experiments.evidence import Observed
from policies.experiments.tally import Tally

TRIAL = Experiment("trial", Unit.TENANT, (Arm("candidate", 0.1, target="other"),))
IN_ARM = Assignment("trial", "candidate", 0.1)
ANSWER = Answer({}, "stop", Usage(10, 5), "m")
JUDGED = Judged(0.7, OutputKind.LONG, calibration="v1")


@pytest.fixture
def seen(monkeypatch) -> list[Observed]:
    """What the evidence was told, in order."""
    jobs: list[Observed] = []
    monkeypatch.setattr(tally.Evidence, "observe", lambda self, job: jobs.append(job))
    return jobs


def attempt(target: str, confidence: float | None = 0.9, **changes: Any) -> Attempt:
    plain = Attempt(1, target, Reason.ROUTED, 1.0, 2.0, ANSWER, confidence, cost_usd=0.25, judged=JUDGED)
    return replace(plain, **changes)


def line(tried: Attempt | None, status: Status | None = None, job_id: str = "job-1", **changes: Any) -> LedgerEntry:
    about = {"task": "chat", "plan": "paid", "status": status, "attempt": tried, "submitted_at": 10.0}
    return LedgerEntry(job_id, "acme", Lane.BULK, 13.0, Reason.CONFIDENT, **{**about, "assigned": IN_ARM, **changes})


def told(*lines: LedgerEntry) -> Tally:
    counting = Tally()
    counting.begin(TRIAL)
    for each in lines:
        counting.line(each)
    return counting


def test_an_escalated_job_counts_once_with_all_its_attempts(seen):
    told(line(attempt("small", 0.3)), line(attempt("large", 0.8), Status.SUCCEEDED))
    assert seen == [Observed("candidate", 3.0, 0.5, escalated=True, gate_failed=False, good=0.8)]


def test_a_second_look_is_no_escalation_and_revises_the_answers_confidence(seen):
    look = attempt("large", 0.8, probe=Probe.P_TRUE)
    told(line(attempt("small", 0.3)), line(look), line(None, Status.SUCCEEDED, target="small"))
    failed = attempt("small", None, probe=Probe.P_TRUE, outcome=Failure(FailureKind.TIMEOUT, "slow"), judged=None)
    told(line(attempt("small", 0.7)), line(failed, Status.SUCCEEDED))
    assert [(job.escalated, job.good, job.answered) for job in seen] == [(False, 0.8, True), (False, 0.7, True)]


def test_a_job_without_an_answer_is_a_failure_of_its_arm(seen):
    failure = attempt("small", None, outcome=Failure(FailureKind.TIMEOUT, "slow"), judged=None)
    told(line(failure, Status.FAILED), line(None, Status.EXPIRED, "job-2"))
    assert [(job.answered, job.gate_failed, job.good) for job in seen] == [(False, True, None)] * 2


def test_an_answer_that_failed_a_gate_is_seen_though_the_job_was_answered_later(seen):
    told(line(attempt("small", 0.0)), line(attempt("large", 0.8), Status.SUCCEEDED))
    assert seen[0].gate_failed


def test_a_cached_answer_counts_for_the_arm_its_job_was_drawn_into(seen):
    told(line(attempt("exact", None, judged=None, cost_usd=0.0), Status.SUCCEEDED))
    assert seen == [Observed("candidate", 3.0, 0.0, False, False, None)]


def test_a_raw_score_is_no_probability(seen):
    told(line(attempt("small", 0.9, judged=replace(JUDGED, calibration=None)), Status.SUCCEEDED))
    assert seen[0].good is None


def test_jobs_of_no_or_another_experiment_cancelled_ones_and_repeated_lines_count_for_nothing(seen):
    last = line(attempt("small"), Status.SUCCEEDED)
    other = replace(IN_ARM, experiment="another")
    told(replace(last, assigned=None), replace(last, assigned=other), line(None, Status.CANCELLED))
    assert seen == []
    told(last, last)
    assert len(seen) == 1


def test_a_bad_verdict_counts_for_the_arm_of_its_job():
    counting = told(line(attempt("small"), Status.SUCCEEDED, assigned=Assignment("trial", CONTROL, 0.9)))
    [feedback] = [each for each in counting.evidence["trial"].guardrails("candidate") if each.name == "feedback"]
    assert (feedback.controls, feedback.control) == (1, 0.0)
    bad = Feedback("job-1", "acme", Verdict.BAD, 14.0, id="f-1")
    assert counting.verdict(replace(bad, tenant="globex")) is None
    assert counting.verdict(replace(bad, verdict=Verdict.GOOD)) is None
    assert counting.verdict(bad) is counting.evidence["trial"]
    [feedback] = [each for each in counting.evidence["trial"].guardrails("candidate") if each.name == "feedback"]
    assert (feedback.controls, feedback.control) == (2, 0.5)


def test_a_verdict_that_is_read_before_its_job_has_ended_counts_once_it_has():
    counting = told()
    assert counting.verdict(Feedback("job-1", "acme", Verdict.BAD, 14.0, id="f-1")) is None
    counting.line(line(attempt("small"), Status.SUCCEEDED))
    [feedback] = [each for each in counting.evidence["trial"].guardrails("candidate") if each.name == "feedback"]
    assert (feedback.candidates, feedback.candidate) == (2, 0.5)


def test_what_is_remembered_is_bounded(monkeypatch, seen):
    monkeypatch.setattr(tally, "MOST_OPEN", 3)
    monkeypatch.setattr(tally, "MOST_ENDED", 2)
    counting = told(*(line(attempt("small"), None, f"job-{n}") for n in range(9)))
    assert len(counting._open) == 3
    for n in range(9):
        counting.line(line(attempt("small"), Status.SUCCEEDED, f"job-{n}"))
    assert len(counting._ended) == 2


@pytest.mark.parametrize("is_early", [True, False])
def test_a_job_that_is_called_bad_again_and_again_counts_once(is_early, monkeypatch):
    disliked: list[str] = []
    monkeypatch.setattr(tally.Evidence, "disliked", lambda self, arm: disliked.append(arm))
    counting = told() if is_early else told(line(attempt("small"), Status.SUCCEEDED))
    for number in range(20):
        counting.verdict(Feedback("job-1", "acme", Verdict.BAD, 14.0, id=f"feedback-{number:016d}"))
    counting.line(line(attempt("small"), Status.SUCCEEDED))
    assert disliked == ["candidate"]
