"""What a dispatcher has committed, as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from counted_jobs import JOB, MIDDLE, SMALL, attempt, commit, ended, series, transition
from pages import ROOT

from fleet.model.attempt import Failure, FailureKind
from fleet.model.calibration import Probe
from fleet.model.content import Content
from fleet.model.delivery import Ack, Committed, Delivery, JobsOf, Retry, Transition
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Problem, Shadow, Status, Work
from fleet.model.span import Step, span_id_of, trace_id_of
from fleet.settings.documents import load_rules
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.catalogue import GROUPS
from fleet.telemetry.metrics.counts import ENDS, escalated_from
from fleet.telemetry.metrics.families import Distribution, Exemplar

DURATION, USAGE = "gen_ai.client.inference.duration", "gen_ai.client.inference.usage"
PLACES = ("policies", "fleet/dispatch")
LITERAL_END = re.compile(r"Status\.([A-Z_]+),\s+Reason\.([A-Z_]+)")


def model_of(target: str) -> str:
    return load_rules(None, None, "local").catalogue.targets[target].model


def test_a_job_counts_once_by_lane_status_and_reason(counts, value):
    commit(counts, [transition(*ended(attempt()))], 1003.1)
    assert value("fleet.jobs", "bulk", "succeeded", "confident") == 1
    assert value("fleet.jobs", "bulk", "succeeded", "not_checked") == 0
    times = value("fleet.job_seconds", "bulk", "llama-8b")
    assert (times.count, times.sum) == (1, 3.0)


def test_a_bucket_leads_to_the_trace_of_its_latest_job_that_is_kept(counts, value):
    counts.committed([(transition(*ended(attempt())), Committed())] * 2, [True, False], 1003.1)
    times = value("fleet.job_seconds", "bulk", "llama-8b")
    assert times.counts[7] == 2, catalogue.LATENCY_BOUNDS
    trace_id, span_id = trace_id_of(None, "acme", JOB.id), span_id_of("acme", JOB.id, Step.JOB)
    assert times.exemplars == {7: Exemplar(f"{trace_id:032x}", f"{span_id:016x}", 3.0, 1003.1)}
    assert value(DURATION, "llama-8b", "chat", "fleet", model_of("llama-8b"), "").exemplars.keys() == {6}


def test_a_step_that_was_stored_before_counts_no_second_time(counts, value):
    line, result = ended(attempt())
    handover = Work(JOB, "mixtral-8x7b", Reason.LOW_CONFIDENCE, (attempt(),))
    letter = DeadLetter("acme", JOB.id, Reason.INVALID, 1003.0, b"", Problem("body", "no"))
    for outbound, repeated in (
        ((line, result), (line, result)),
        ((line, result), (result,)),
        ((line, handover), (line, handover)),
        ((letter,), (letter,)),
    ):
        counts.committed([(transition(*outbound, deliveries=2), Committed(repeated=repeated))], [False], 1003.1)
    assert value("fleet.jobs", "bulk", "succeeded", "confident") == 0
    assert value("fleet.attempts", "llama-8b", "answered") == 0
    assert value("fleet.job_seconds", "bulk", "llama-8b").count == 0
    assert value("fleet.escalations", "llama-8b", "low_confidence") == 0
    assert value("fleet.dead_letters", "invalid") == 0
    assert value("fleet.redeliveries") == 4


def test_a_clock_that_goes_back_takes_nothing_off_a_sum(counts, value):
    commit(counts, [transition(*ended(attempt(started_at=1002.0, ended_at=1001.0)))], 1003.1)
    found = value(DURATION, "llama-8b", "chat", "fleet", model_of("llama-8b"), "")
    assert (found.counts[0], found.count, found.sum) == (1, 1, 0.0)


@pytest.mark.parametrize(("flags", "traces"), [("01", ["a" * 32]), ("00", [])])
def test_a_publisher_that_keeps_its_trace_is_led_to_it_where_nothing_is_exported(counts, value, flags, traces):
    commit(counts, [transition(*ended(attempt()), traceparent=f"00-{'a' * 32}-{'b' * 16}-{flags}")], 1003.1)
    exemplars = value("fleet.job_seconds", "bulk", "llama-8b").exemplars.values()
    assert [each.trace_id for each in exemplars] == traces


def test_an_answer_counts_its_time_its_tokens_its_money_and_its_confidence(counts, value):
    commit(counts, [transition(*ended(attempt(cost_usd=0.000_000_3)))] * 2, 1003.1)
    model = ("llama-8b", "chat", "fleet", model_of("llama-8b"))
    assert value("fleet.attempts", "llama-8b", "answered") == 2
    assert value(DURATION, *model, "").sum == 1.0
    assert value(DURATION, *model, "_OTHER").count == 0
    assert value("fleet.cost_usd", "llama-8b") == 0.000_000_6
    assert value("fleet.confidence", "llama-8b").sum == 1.74
    names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_write.input_tokens")
    counted = [value(f"{USAGE}.{name}", *model, "text") for name in (*names, "reasoning.output_tokens")]
    assert counted == [24, 6, 8, 10, 4]


def test_a_failed_call_counts_by_its_kind_and_says_nothing_of_confidence(counts, value):
    failed = attempt(outcome=Failure(FailureKind.TIMEOUT, "slow"), confidence=None)
    commit(counts, [transition(*ended(failed, Status.FAILED, Reason.ALL_FAILED))], 1003.1)
    assert value("fleet.attempts", "llama-8b", "timeout") == 1
    assert value("fleet.attempts", "llama-8b", "answered") == 0
    assert value(DURATION, "llama-8b", "chat", "fleet", model_of("llama-8b"), "_OTHER").sum == 0.5
    assert value("fleet.confidence", "llama-8b").count == 0


def test_a_second_look_is_an_attempt_and_no_second_confidence(counts, value):
    commit(counts, [transition(*ended(attempt(2, probe=Probe.P_TRUE)))], 1003.1)
    assert value("fleet.attempts", "llama-8b", "answered") == 1
    assert value("fleet.confidence", "llama-8b").count == 0


def test_work_waits_from_its_storing_to_its_call(counts, value):
    commit(counts, [transition(*ended(attempt()))], 1003.1)
    assert value("fleet.queue_seconds", "llama-8b", "bulk").sum == 0.5
    assert value("fleet.intake_seconds", "bulk").count == 0


def test_a_job_waits_for_its_first_target_until_it_is_handed_over(counts, value):
    work = Work(JOB, "llama-8b", Reason.ROUTED)
    commit(counts, [transition(work, source=JobsOf(Lane.BULK, "acme"))], 1003.25)
    assert value("fleet.intake_seconds", "bulk").sum == 3.25


def test_a_direct_job_waits_for_its_call_and_in_no_targets_queue(counts, value):
    settlement = Ack(Delivery(JOB, SMALL, 1, 1001.5))
    commit(counts, [Transition(ended(attempt()), settlement)], 1003.1)
    assert value("fleet.intake_seconds", "bulk").sum == 0.5
    assert value("fleet.queue_seconds", "llama-8b", "bulk").count == 0


def test_a_batch_counts_once_with_its_size(counts, value):
    counts.batched("llama-8b", 12)
    sizes = value("fleet.batch_size", "llama-8b")
    assert (sizes.count, sizes.sum, sizes.counts[4]) == (1, 12, 1)


def test_a_message_that_came_again_and_one_that_goes_back_are_counted(counts, value):
    commit(counts, [transition(*ended(attempt()), deliveries=3)], 1003.1)
    waiting = Transition((), Retry(transition().settlement.delivery, 5.0), None)
    commit(counts, [waiting], 1003.1)
    assert (value("fleet.redeliveries"), value("fleet.deferrals")) == (1, 1)


@pytest.mark.parametrize("reason", [Reason.DEADLINE_PASSED, Reason.DEADLINE_OUT_OF_REACH])
def test_a_missed_deadline_counts_in_its_lane(counts, value, reason):
    commit(counts, [transition(*ended(None, Status.EXPIRED, reason))], 1003.1)
    assert value("fleet.deadline_missed", "bulk") == 1
    assert value("fleet.deadline_missed", "interactive") == 0
    assert value("fleet.job_seconds", "bulk", "").count == 1


def test_contents_that_are_sent_beside_a_result_are_counted_and_nothing_else_that_is(counts, value):
    content = Content(JOB.id, "acme", JOB.task, 1003.0, {}, {})
    work = Work(JOB, "mixtral-8x7b", Reason.LOW_CONFIDENCE, shadow=None)
    commit(counts, [replace(transition(*ended(attempt())), aside=(content, work)), transition()], 1003.1)
    assert value("fleet.contents_sent") == 1


def test_a_dead_letter_counts_by_its_reason(counts, value):
    dead = DeadLetter("acme", JOB.id, Reason.INVALID, Problem("not JSON"), b"", 1003.0)
    commit(counts, [transition(dead, source=JobsOf(Lane.BULK, "acme"))], 1003.1)
    assert value("fleet.dead_letters", "invalid") == 1


def test_a_comparison_is_an_attempt_and_no_job(counts, value):
    entry = LedgerEntry(JOB.id, JOB.tenant, JOB.lane, 1003.0, Reason.SHADOW, attempt=attempt())
    commit(counts, [transition(entry)], 1003.1)
    assert value("fleet.attempts", "llama-8b", "answered") == 1
    assert sum(count for (name, _), count in series(list(counts.read())).items() if name == "fleet.jobs") == 0


def test_a_target_and_a_reason_that_nobody_expected_get_series_of_their_own(counts, value):
    odd = ended(attempt(target="of-an-older-catalogue"), Status.FAILED, Reason.SHADOW)
    commit(counts, [transition(*odd)], 1003.1)
    assert value("fleet.attempts", "of-an-older-catalogue", "answered") == 1
    assert value("fleet.jobs", "bulk", "failed", "shadow") == 1
    assert value(DURATION, "of-an-older-catalogue", "chat", "", "", "").count == 1


LOOKED_AT = (attempt(), attempt(2, "mixtral-8x7b", probe=Probe.PREFILL))


@pytest.mark.parametrize(
    ("reason", "target", "source", "attempts", "left"),
    [
        (Reason.LOW_CONFIDENCE, "mixtral-8x7b", SMALL, (attempt(),), "llama-8b"),
        (Reason.TARGET_FAILED, "mixtral-8x7b", SMALL, (attempt(),), "llama-8b"),
        (Reason.TARGET_UNAVAILABLE, "mixtral-8x7b", SMALL, (), "llama-8b"),
        (Reason.BREAKER_OPEN, "mixtral-8x7b", SMALL, (attempt(),), "llama-8b"),
        (Reason.LOW_CONFIDENCE, "mixtral-8x7b", MIDDLE, LOOKED_AT, "llama-8b"),
        (Reason.GREY_BAND, "mixtral-8x7b", SMALL, (attempt(),), None),
        (Reason.BREAKER_OPEN, "mixtral-8x7b", MIDDLE, (attempt(),), None),
        (Reason.MONEY_BUSY, "mixtral-8x7b", MIDDLE, (attempt(),), None),
        (Reason.BACKOFF, "llama-8b", SMALL, (attempt(),), None),
        (Reason.RETRY, "llama-8b", SMALL, (attempt(),), None),
    ],
)
def test_a_job_escalates_when_it_goes_on_to_another_target(reason, target, source, attempts, left):
    assert escalated_from(Work(JOB, target, reason, attempts=attempts), source) == left


def test_an_escalation_counts_at_the_target_that_was_left(counts, value):
    work = Work(JOB, "mixtral-8x7b", Reason.LOW_CONFIDENCE, attempts=(attempt(),))
    commit(counts, [transition(work)], 1003.1)
    assert value("fleet.escalations", "llama-8b", "low_confidence") == 1
    assert value("fleet.escalations", "mixtral-8x7b", "low_confidence") == 0


def test_a_comparison_is_no_escalation():
    shadow = Shadow(JOB.id, "mixtral-8x7b", 1, 0.5)
    assert escalated_from(Work(JOB, "mixtral-8x7b", Reason.SHADOW, attempts=(attempt(),), shadow=shadow), SMALL) is None


def literal_ends() -> Iterator[tuple[str, str]]:
    """The status and reason of every end that stands in the code as such."""
    for place in PLACES:
        for file in (ROOT / place).rglob("*.py"):
            yield from LITERAL_END.findall(file.read_text())


def test_every_end_of_a_job_in_the_code_has_its_series_from_the_start():
    found = {(Status[status], Reason[reason]) for status, reason in literal_ends() if reason != "SHADOW"}
    assert len(found) >= 12
    assert {reason for status, reason in found if reason not in ENDS[status]} == set()


def test_every_series_of_what_is_served_is_there_at_0(counts):
    found = series(list(counts.read()))
    counted = {metric.name for name in ("Jobs", "Calls of targets") for metric in GROUPS[name]}
    assert {name for name, _ in found} == counted
    assert {each.count if isinstance(each, Distribution) else each for each in found.values()} == {0}
    for target in ("llama-8b", "mixtral-8x7b", "gpt-4o"):
        assert found["fleet.attempts", (target, "answered")] == 0
        assert all(found["fleet.attempts", (target, kind)] == 0 for kind in FailureKind)
        assert all(("fleet.queue_seconds", (target, lane)) in found for lane in Lane)


def test_what_is_not_served_here_has_no_series(counts):
    targets = {labels[0] for (name, labels) in series(list(counts.read())) if name == "fleet.attempts"}
    assert targets == {"llama-8b", "mixtral-8x7b", "gpt-4o"}
