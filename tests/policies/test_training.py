"""A job is on one side for good: models are trained on it, or calibrations learn from it."""

from __future__ import annotations

from dataclasses import replace

from fleet.lab.learning.refit import heldout
from policies.training import TrainingRules

AGREED = TrainingRules(frozenset({"acme"}))
JOBS = [f"job-{number:012d}" for number in range(2000)]


def test_no_model_is_trained_on_jobs_of_a_tenant_that_did_not_agree() -> None:
    assert not any(AGREED.has("globex", job) for job in JOBS)
    assert not any(TrainingRules().has("acme", job) for job in JOBS)


def test_a_larger_share_takes_jobs_from_calibrations_and_gives_none_back() -> None:
    half, most = ({job for job in JOBS if replace(AGREED, share=share).has("acme", job)} for share in (0.5, 0.8))
    assert half < most
    assert abs(len(half) / len(JOBS) - 0.5) < 0.05
    assert all(replace(AGREED, share=1.0).has("acme", job) for job in JOBS)


def test_the_side_of_a_job_has_nothing_to_do_with_what_is_held_out_to_judge_a_refit() -> None:
    trained = [heldout(f"acme.{job}") for job in JOBS if AGREED.has("acme", job)]
    assert abs(sum(trained) / len(trained) - 0.3) < 0.05
