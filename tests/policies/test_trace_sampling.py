"""Which traces are kept: by what became of the job, by its publisher's wish, and by a share of all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from fleet.model.attempt import Attempt, Failure, FailureKind
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.span import Sampling, trace_id_of
from policies.tracing import JobPace, is_notable, kept_by_id

NONE_BY_SHARE = Sampling(share=0.0, expensive_usd=0.05)
QUICK = JobPace(taken=1.0, usual=2.0, allowed=10.0)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def tried(*targets: str, cost_usd: float = 0.0) -> list[Attempt]:
    failure = Failure(FailureKind.TIMEOUT, "late")
    return [Attempt(n, target, Reason.RETRY, 1.0, 2.0, failure, None, cost_usd) for n, target in enumerate(targets, 1)]


@pytest.mark.parametrize(
    ("status", "attempts", "pace", "notable"),
    [
        (Status.SUCCEEDED, tried("a"), QUICK, False),
        (Status.BEST_EFFORT, tried("a"), QUICK, False),
        (Status.CANCELLED, tried("a"), QUICK, False),
        (Status.REJECTED, [], QUICK, False),
        (Status.FAILED, tried("a"), QUICK, True),
        (Status.EXPIRED, [], QUICK, True),
        (Status.SUCCEEDED, tried("a", "b"), QUICK, True),
        (Status.SUCCEEDED, tried("a", "a"), QUICK, False),
        (Status.SUCCEEDED, tried("a"), JobPace(2.1, 2.0, 10.0), True),
        (Status.SUCCEEDED, tried("a"), JobPace(2.0, 2.0, 10.0), False),
        (Status.SUCCEEDED, tried("a"), JobPace(9.0, math.inf, 10.0), True),
        (Status.SUCCEEDED, tried("a", cost_usd=0.05), QUICK, True),
        (Status.SUCCEEDED, tried("a", "a", cost_usd=0.025), QUICK, True),
        (Status.SUCCEEDED, tried("a", cost_usd=0.049), QUICK, False),
    ],
)
def test_a_job_is_notable_if_it_failed_escalated_was_slow_or_expensive(status, attempts, pace, notable):
    assert is_notable(status, attempts, pace, NONE_BY_SHARE) is notable
    assert not is_notable(status, attempts, pace, Sampling(share=0.0, notable=False))


@pytest.mark.parametrize(("flags", "kept"), [("01", True), ("03", True), ("00", False), ("02", False)])
def test_a_publisher_decides_for_its_own_traces(flags: str, kept: bool):
    job = (f"00-{TRACE}-00f067aa0ba902b7-{flags}", "acme", "job-0123456789ab")

    for share in (0.0, 1.0):
        assert kept_by_id(*job, Sampling(share)) == (int(TRACE, 16) if kept else None)
        alone = kept_by_id(*job, Sampling(share, follows_publisher=False))
        assert alone == (int(TRACE, 16) if share else None)


@given(st.integers(min_value=1, max_value=(1 << 128) - 1), st.floats(min_value=0, max_value=1))
def test_a_share_keeps_the_traces_that_other_services_with_that_share_keep(trace_id: int, share: float):
    theirs = TraceIdRatioBased(share).should_sample(None, trace_id, "any").decision is Decision.RECORD_AND_SAMPLE
    job = (f"00-{trace_id:032x}-00f067aa0ba902b7-00", "acme", "job-0123456789ab")

    assert (kept_by_id(*job, Sampling(share, follows_publisher=False)) == trace_id) is theirs


@pytest.mark.parametrize("traceparent", [None, f"00-{'0' * 32}-00f067aa0ba902b7-01"])
def test_a_job_without_a_publishers_trace_is_kept_by_the_id_of_its_own(traceparent: str | None):
    names = [f"job-{number:012d}" for number in range(1000)]
    kept = [name for name in names if kept_by_id(traceparent, "acme", name, Sampling(0.1))]

    assert 50 < len(kept) < 150
    assert all(kept_by_id(None, "acme", name, Sampling(0.1)) == trace_id_of(None, "acme", name) for name in kept)
