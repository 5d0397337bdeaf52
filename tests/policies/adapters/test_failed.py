"""What follows an attempt that could not use its adapter."""

from __future__ import annotations

from dataclasses import replace

from fleet.model.action import Run
from fleet.model.attempt import FailureKind
from fleet.model.reason import Reason
from policies.plan import next_action

SMALL, NEXT = "llama-8b", "mixtral-8x7b"


def test_the_base_of_the_target_is_asked_at_once_and_once(job, view, failed, rules):
    adapted = replace(failed(1, SMALL, FailureKind.ADAPTER), adapter="a" * 64)
    assert next_action(job(), (adapted,), view(), 1_001.0, rules) == Run(SMALL, Reason.ADAPTER_FAILED)
    base = failed(2, SMALL, FailureKind.ADAPTER)
    assert next_action(job(), (adapted, base), view(), 1_001.0, rules) == Run(NEXT, Reason.TARGET_FAILED)


def test_where_the_target_is_shut_meanwhile_the_next_one_is_asked(job, view, failed, rules):
    adapted = replace(failed(1, SMALL, FailureKind.ADAPTER), adapter="a" * 64)
    shut = view(llama_8b=1_030.0)
    assert next_action(job(), (adapted,), shut, 1_001.0, rules) == Run(NEXT, Reason.TARGET_UNAVAILABLE)


def test_an_adapter_that_fails_takes_no_attempt_from_its_job(job, view, failed, rules):
    once = replace(rules, retry=replace(rules.retry, max_attempts=1))
    adapted = replace(failed(1, SMALL, FailureKind.ADAPTER), adapter="a" * 64)
    assert next_action(job(), (adapted,), view(), 1_001.0, once) == Run(SMALL, Reason.ADAPTER_FAILED)
    base = failed(2, SMALL, FailureKind.SERVER_ERROR)
    assert not isinstance(next_action(job(), (adapted, base), view(), 1_001.0, once), Run)
