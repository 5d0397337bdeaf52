"""The spans of a job are made of its lines in the ledger, and of nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.model.attempt import Answer, Attempt, Cached, EngineTimes, Failure, FailureKind, Hop, Judged, Usage
from fleet.model.calibration import OutputKind
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.model.span import Span, Step, publisher_of, span_id_of, trace_id_of
from fleet.telemetry.story import spans_of

JOB = "job-0123456789ab"
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
TRACEPARENT = f"00-{TRACE:032x}-{PARENT:016x}-01"

BAD_PARENTS = [
    None,
    f"00-{'0' * 32}-{PARENT:016x}-01",
    f"00-{TRACE:032x}-{'0' * 16}-01",
    f"ff-{TRACE:032x}-{PARENT:016x}-01",
]

INTAKE = Hop(100.0, 100.5)
FIRST = Attempt(
    1,
    "llama-8b",
    Reason.ROUTED,
    102.0,
    103.0,
    Answer({}, "stop", Usage(40, 12, 32), "llama-8b", engine=EngineTimes(102.1, 0.4, 0.1, 0.2, 0.4)),
    0.41,
    0.00001,
    Judged(0.8, OutputKind.SHORT, "c7"),
    provider="fleet",
    requested_model="llama",
    hop=Hop(101.0, 101.5, 2, "00000000000000aa", 8),
)
SECOND = Attempt(
    2,
    "gpt-4o",
    Reason.LOW_CONFIDENCE,
    105.0,
    106.0,
    Failure(FailureKind.TIMEOUT, "no answer"),
    cost_usd=0.002,
    provider="openai",
    requested_model="gpt-4o-2024",
    hop=Hop(103.5, 104.0, 1, "00000000000000bb", 1),
)


def line(attempt: Attempt | None, at: float, status: Status | None = None, reason: Reason = Reason.CONFIDENT, **more):
    told = {"submitted_at": 100.0, "traceparent": TRACEPARENT, "intake": INTAKE, **more}
    return LedgerEntry(JOB, "acme", Lane.BULK, at, reason, "nudge", "paid", status, attempt, **told)


LINES = (line(FIRST, 103.0, reason=Reason.LOW_CONFIDENCE), line(SECOND, 106.0, Status.FAILED, Reason.ALL_FAILED))


def by_step(spans: tuple[Span, ...]) -> dict[Step, list[Span]]:
    return {step: [span for span in spans if span.step is step] for step in Step}


def test_a_job_has_a_span_for_each_of_its_steps_with_the_times_of_its_lines():
    spans = spans_of(LINES)

    assert [(span.step, span.name, span.started_at, round(span.ended_at, 6)) for span in spans] == [
        (Step.JOB, "process jobs.bulk.{tenant}", 100.0, 106.0),
        (Step.QUEUE_WAIT, "fleet.queue_wait", 100.0, 100.5),
        (Step.INTAKE, "fleet.intake", 100.5, 101.0),
        (Step.QUEUE_WAIT, "fleet.queue_wait", 101.0, 101.5),
        (Step.SLOT_WAIT, "fleet.slot_wait", 101.5, 102.0),
        (Step.CALL, "chat llama", 102.0, 103.0),
        (Step.ENGINE_QUEUE, "fleet.engine.queue", pytest.approx(102.2), 102.3),
        (Step.ENGINE_PREFILL, "fleet.engine.prefill", pytest.approx(102.3), 102.5),
        (Step.ENGINE_DECODE, "fleet.engine.decode", 102.5, 102.9),
        (Step.ESCALATE, "fleet.escalate", 103.0, 103.5),
        (Step.QUEUE_WAIT, "fleet.queue_wait", 103.5, 104.0),
        (Step.SLOT_WAIT, "fleet.slot_wait", 104.0, 105.0),
        (Step.CALL, "chat gpt-4o-2024", 105.0, 106.0),
        (Step.RESULT, "send results.{tenant}.{id}", 106.0, 106.0),
    ]


@pytest.mark.parametrize("cached", [None, Cached("job-of-before-0123", "llama-8b", 40.0, Usage(40, 2))])
def test_an_answer_without_a_call_has_no_span_of_a_call(cached):
    answer = Answer({}, "stop", Usage(), "m")
    known = Attempt(1, "exact" if cached else "pattern", Reason.CACHED, 100.5, 100.5, answer, cached=cached)
    spans = spans_of([line(known, 100.5, Status.SUCCEEDED, Reason.CACHED)])
    assert [span.name for span in spans[3:]] == ["fleet.known_answer", "send results.{tenant}.{id}"]
    told = spans[3].attributes
    assert (told.get("cached_job_id"), told.get("cached_target"), told.get("cached_seconds")) == (
        ("job-of-before-0123", "llama-8b", 60.5) if cached else (None, None, None)
    )
    assert not {"call", "provider", "input_tokens"} & set(told)


def test_every_span_hangs_below_the_job_and_the_job_below_its_publisher():
    spans = spans_of(LINES)
    found = by_step(spans)
    [job] = found[Step.JOB]

    assert {span.trace_id for span in spans} == {TRACE}
    assert len({span.span_id for span in spans}) == len(spans)
    assert (job.parent_id, job.links) == (PARENT, (publisher_of(TRACEPARENT),))
    engine = found[Step.ENGINE_QUEUE] + found[Step.ENGINE_PREFILL] + found[Step.ENGINE_DECODE]
    assert {span.parent_id for span in engine} == {found[Step.CALL][0].span_id}
    assert {span.parent_id for span in spans if span not in (job, *engine)} == {job.span_id}
    assert all(span.links == () for span in spans if span is not job)


def test_attributes_say_what_was_decided_and_what_it_cost():
    found = by_step(spans_of(LINES))
    [job], [first, second] = found[Step.JOB], found[Step.CALL]

    assert (job.attributes["status"], job.attributes["reason"], job.error) == ("failed", "all_failed", "all_failed")
    assert job.attributes["cost_usd"] == pytest.approx(0.00201)
    assert (first.attributes["confidence"], first.attributes["threshold"]) == (0.41, 0.8)
    assert (first.attributes["cached_input_tokens"], first.attributes["batch"]) == (32, "00000000000000aa")
    assert (first.error, second.error, second.attributes["error"]) == (None, "timeout", "timeout")
    assert (second.attributes["provider"], second.attributes["reason"]) == ("openai", "low_confidence")
    [climb] = found[Step.ESCALATE]
    assert (climb.attributes["from_target"], climb.attributes["target"]) == ("llama-8b", "gpt-4o")
    assert None not in {value for span in spans_of(LINES) for value in span.attributes.values()}


def test_nothing_of_the_person_and_of_what_was_said_gets_into_a_span():
    told = replace(FIRST, outcome=replace(FIRST.outcome, message={"role": "assistant", "content": "a private word"}))
    spans = spans_of([line(told, 103.0, Status.SUCCEEDED, person="p-17")])

    assert "p-17" not in repr(spans)
    assert "private" not in repr(spans)


@given(st.randoms(), st.lists(st.sampled_from(LINES), max_size=4))
def test_the_order_of_lines_and_repeated_ones_change_nothing(shuffling: random.Random, repeated: list[LedgerEntry]):
    lines = [*LINES, *repeated]
    shuffling.shuffle(lines)

    assert spans_of(lines) == spans_of(LINES)


@pytest.mark.parametrize("traceparent", BAD_PARENTS)
def test_without_a_publisher_a_job_has_a_trace_of_its_own_that_every_process_knows(traceparent: str | None):
    spans = spans_of([replace(each, traceparent=traceparent) for each in LINES])

    assert {span.trace_id for span in spans} == {trace_id_of(None, "acme", JOB)}
    assert spans[0].parent_id is None
    assert spans[0].span_id == span_id_of("acme", JOB, Step.JOB)


def test_two_jobs_of_one_trace_and_jobs_of_one_id_share_no_span():
    jobs = [(name, tenant) for name in (JOB, "job-0123456789ac") for tenant in ("acme", "globex")]
    spans = [
        span.span_id
        for name, tenant in jobs
        for span in spans_of([replace(each, job_id=name, tenant=tenant) for each in LINES])
    ]

    assert len(set(spans)) == len(spans)


def test_a_direct_job_waits_in_one_queue():
    direct = replace(FIRST, hop=replace(FIRST.hop, stored_at=INTAKE.stored_at, taken_at=INTAKE.taken_at))
    found = by_step(spans_of([line(direct, 103.0, Status.SUCCEEDED)]))

    assert [(span.started_at, span.ended_at) for span in found[Step.QUEUE_WAIT]] == [(100.0, 100.5)]
    assert [(span.started_at, span.ended_at) for span in found[Step.INTAKE] + found[Step.SLOT_WAIT]] == [
        (100.5, 100.5),
        (100.5, 102.0),
    ]


def test_a_job_that_never_ran_has_its_wait_its_intake_and_its_result():
    spans = spans_of([line(None, 101.0, Status.EXPIRED, Reason.DEADLINE_PASSED)])

    assert [span.step for span in spans] == [Step.JOB, Step.QUEUE_WAIT, Step.INTAKE, Step.RESULT]
    assert spans[2].ended_at == 101.0


def test_a_message_that_nobody_could_read_has_a_span_all_the_same():
    [job, result] = spans_of([LedgerEntry(JOB, "acme", Lane.BULK, 5.0, Reason.INVALID, status=Status.REJECTED)])

    assert (job.started_at, job.ended_at, result.parent_id) == (5.0, 5.0, job.span_id)


def test_a_job_that_has_not_ended_has_no_result_yet():
    spans = spans_of(LINES[:1])

    assert Step.RESULT not in [span.step for span in spans]
    assert (spans[0].ended_at, "status" in spans[0].attributes) == (103.0, False)
    assert {span.span_id for span in spans} < {span.span_id for span in spans_of(LINES)}


def test_a_paid_call_that_was_made_twice_has_two_spans():
    again = replace(SECOND, repeated=True)
    calls = by_step(spans_of([*LINES, line(again, 107.0)]))[Step.CALL]

    assert [(span.attributes["attempt"], "repeated" in span.attributes) for span in calls] == [
        (1, False),
        (2, False),
        (2, True),
    ]
    assert len({span.span_id for span in calls}) == 3


def test_a_comparison_hangs_below_its_job_from_another_process_too():
    compared = line(replace(SECOND, number=3, reason=Reason.SHADOW), 120.0, reason=Reason.SHADOW, intake=None)
    alone, whole = spans_of([compared]), spans_of([*LINES, compared])

    assert [span.step for span in alone] == [Step.QUEUE_WAIT, Step.SLOT_WAIT, Step.CALL]
    assert {span.parent_id for span in alone} == {whole[0].span_id}
    assert whole == (*spans_of(LINES), *alone)


@given(st.floats(min_value=-1e4, max_value=1e4), st.floats(min_value=0, max_value=50))
def test_no_clock_of_a_replica_puts_the_engine_before_its_call_and_no_span_ends_before_it_begins(
    skew: float, seconds: float
):
    engine = EngineTimes(102.0 + skew, seconds, seconds / 4, seconds / 2, seconds)
    told = replace(FIRST, outcome=replace(FIRST.outcome, engine=engine), hop=replace(FIRST.hop, taken_at=skew))
    spans = spans_of([line(told, 103.0, Status.SUCCEEDED)])

    for span in spans:
        assert span.started_at <= span.ended_at
        if span.step in (Step.ENGINE_QUEUE, Step.ENGINE_PREFILL, Step.ENGINE_DECODE):
            assert span.started_at >= told.started_at - 1e-6
