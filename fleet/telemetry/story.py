"""The spans of a job, made of its lines in the ledger.

A dispatcher exports what this makes of the lines in its hands, and `fleet trace` what it makes of those that were
stored: the same spans with the same ids. docs/how-to/tracing.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet.model.attempt import Answer, Attempt, EngineTimes, Failure, Hop, Usage
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.model.span import AttributeValue, Link, Span, SpanIds, Step, publisher_of, trace_id_of
from fleet.model.target import WITHOUT_CALL

ERRORS = (Status.FAILED, Status.EXPIRED)
"""The ends of a job that make its first span an error."""

Words = Mapping[str, AttributeValue | None]
Tried = Sequence[tuple[LedgerEntry, Attempt]]


def spans_of(lines: Sequence[LedgerEntry]) -> tuple[Span, ...]:
    """Return the spans of one job, parents first; of a comparison's line alone, only those of its call.

    The lines may come in any order and more than once. A job without a line that ended it has no span for its result,
    and its first span ends with its last line.
    """
    once = {line.line: line for line in reversed(lines)}  # of two of one name the first counts
    told = [line for _, line in sorted(once.items(), key=_by_number)]
    traceparent = next((line.traceparent for line in told if line.traceparent is not None), None)
    ids = SpanIds(told[0].tenant, told[0].job_id)
    trace = _Trace(trace_id_of(traceparent, told[0].tenant, told[0].job_id), ids.of(Step.JOB), ids)
    own = [line for line in told if not is_comparison(line)]
    spans = list(_of_job(trace, own, publisher_of(traceparent))) if own else []
    for line, attempt in _tried([line for line in told if is_comparison(line)]):
        spans += _of_attempt(trace, line, attempt, None)
    return tuple(spans)


def _by_number(named: tuple[str, LedgerEntry]) -> tuple[float, str]:
    name, line = named
    return (line.attempt.number if line.attempt else math.inf), name


def is_comparison(line: LedgerEntry) -> bool:
    """Return whether the line is of a comparison made after the job's result."""
    return line.attempt is not None and line.attempt.reason is Reason.SHADOW


def end_of(lines: Sequence[LedgerEntry]) -> LedgerEntry | None:
    """Return the line that ended the job; None while there is none."""
    return next((line for line in lines if line.status is not None), None)


def _tried(lines: Sequence[LedgerEntry]) -> Tried:
    return [(line, line.attempt) for line in lines if line.attempt is not None]


@dataclass(frozen=True, slots=True)
class _Trace:
    """Makes the spans of one job."""

    id: int
    root_id: int
    ids: SpanIds

    def span(
        self,
        step: Step,
        started_at: float,
        ended_at: float,
        words: Words,
        line: str = "",
        parent_id: int | None = None,
        publisher: Link | None = None,
        error: str | None = None,
        name: str | None = None,
    ) -> Span:
        """Return a span of the job, or of its attempt that `line` names. It is below the job unless it has a parent."""
        attributes = {word: value for word, value in words.items() if value is not None}
        ended_at = max(started_at, ended_at)  # they may be by two clocks
        links: tuple[Link, ...] = ()
        if step is Step.JOB:
            span_id = self.root_id
            if publisher is not None:
                parent_id, links = publisher.span_id, (publisher,)
        else:
            span_id = self.ids.of(step, line)
            parent_id = parent_id or self.root_id
        name = name or f"fleet.{step}"
        return Span(step, name, self.id, span_id, parent_id, started_at, ended_at, attributes, links, error)


def _of_job(trace: _Trace, lines: Sequence[LedgerEntry], publisher: Link | None) -> Iterator[Span]:
    tried, end = _tried(lines), end_of(lines)
    last = max(lines, key=lambda line: line.at) if end is None else end
    intake = next((line.intake for line in lines if line.intake is not None), None)
    yield _root(trace, lines, [attempt for _, attempt in tried], last, publisher)
    if intake is not None:
        yield from _of_intake(trace, intake, tried, last)
    before: Attempt | None = None
    for line, attempt in tried:
        if before is not None and before.target != attempt.target:
            yield _escalation(trace, line, before, attempt)
        yield from _of_attempt(trace, line, attempt, intake)
        before = attempt
    if end is not None:
        message = _message(f"results.{end.tenant}.{end.job_id}", "results.{tenant}.{id}", "send")
        words = {**message, "status": str(end.status), "reason": str(end.reason)}
        yield trace.span(Step.RESULT, end.at, end.at, words, name="send results.{tenant}.{id}")


def _root(
    trace: _Trace, lines: Sequence[LedgerEntry], attempts: Sequence[Attempt], last: LedgerEntry, publisher: Link | None
) -> Span:
    began_at = next((line.submitted_at for line in lines if line.submitted_at is not None), None)
    if began_at is None:
        began_at = attempts[0].started_at if attempts else last.at
    message = _message(f"jobs.{last.lane}.{last.tenant}", f"jobs.{last.lane}.{{tenant}}", "process")
    words: Words = {
        **message,
        "job_id": last.job_id,
        "tenant": last.tenant,
        "lane": str(last.lane),
        "task": last.task,
        "plan": last.plan,
        "status": last.status and str(last.status),
        "reason": str(last.reason),
        "attempts": len(attempts),
        "cost_usd": sum(attempt.cost_usd for attempt in attempts),
    }
    error = str(last.reason) if last.status in ERRORS else None
    name = f"process {message['template']}"
    return trace.span(Step.JOB, began_at, last.at, words, publisher=publisher, error=error, name=name)


def _of_intake(trace: _Trace, intake: Hop, tried: Tried, last: LedgerEntry) -> Iterator[Span]:
    """Yield the wait of the job's message, and the time until it was on its way to its first target, or ended."""
    message = _message(f"jobs.{last.lane}.{last.tenant}", f"jobs.{last.lane}.{{tenant}}")
    words: Words = {**message, "deliveries": intake.deliveries}
    yield trace.span(Step.QUEUE_WAIT, intake.stored_at, intake.taken_at, words)
    if not tried:
        yield trace.span(Step.INTAKE, intake.taken_at, last.at, {"reason": str(last.reason)})
        return
    first = tried[0][1]
    gone_at = intake.taken_at if first.hop is None else first.hop.stored_at
    yield trace.span(Step.INTAKE, intake.taken_at, gone_at, _choice(first))


def _escalation(trace: _Trace, line: LedgerEntry, before: Attempt, attempt: Attempt) -> Span:
    """Return the hand-over from one target to the next."""
    stored_at = attempt.started_at if attempt.hop is None else attempt.hop.stored_at
    words = {"from_target": before.target, **_choice(attempt)}
    return trace.span(Step.ESCALATE, before.ended_at, stored_at, words, line.line)


def _choice(attempt: Attempt) -> Words:
    return {"target": attempt.target, "attempt": attempt.number, "reason": str(attempt.reason)}


def _of_attempt(trace: _Trace, line: LedgerEntry, attempt: Attempt, intake: Hop | None) -> Iterator[Span]:
    """Yield the spans of an attempt. A direct job ran on its own message, which `intake` brought, and waits once."""
    hop = attempt.hop
    if hop is not None:
        taken_at = max(hop.stored_at, hop.taken_at)
        if intake is None or hop.stored_at != intake.stored_at:
            lane, target = line.lane, attempt.target
            message = _message(f"work.{target}.{lane}.{line.tenant}", f"work.{target}.{lane}.{{tenant}}")
            words: Words = {**message, "target": target, "deliveries": hop.deliveries}
            yield trace.span(Step.QUEUE_WAIT, hop.stored_at, taken_at, words, line.line)
        words = {"target": attempt.target, "batch": hop.batch, "batch_size": hop.batch_size or None}
        yield trace.span(Step.SLOT_WAIT, taken_at, attempt.started_at, words, line.line)
    if attempt.target in WITHOUT_CALL:
        yield _known_answer(trace, line, attempt)
        return
    yield _call(trace, line, attempt)
    if isinstance(attempt.outcome, Answer) and attempt.outcome.engine is not None:
        yield from _of_engine(trace, line.line, attempt, attempt.outcome.engine)


def _known_answer(trace: _Trace, line: LedgerEntry, attempt: Attempt) -> Span:
    words: Words = _choice(attempt)
    if (cached := attempt.cached) is not None:
        age = max(0.0, attempt.started_at - cached.answered_at)
        words = {**words, "cached_job_id": cached.job_id, "cached_target": cached.target, "cached_seconds": age}
    return trace.span(Step.KNOWN_ANSWER, attempt.started_at, attempt.ended_at, words, line.line)


def _call(trace: _Trace, line: LedgerEntry, attempt: Attempt) -> Span:
    judged = attempt.judged
    words: dict[str, AttributeValue | None] = {
        "call": "chat",
        "provider": attempt.provider,
        "requested_model": attempt.requested_model,
        **_choice(attempt),
        "region": attempt.region,
        "adapter": attempt.adapter,
        "batch": None if attempt.hop is None else attempt.hop.batch,
        "confidence": attempt.confidence,
        "threshold": None if judged is None or math.isinf(judged.threshold) else judged.threshold,
        "calibration": None if judged is None else judged.calibration,
        "probe": attempt.probe and str(attempt.probe),
        "repeated": attempt.repeated or None,
        "cost_usd": attempt.cost_usd,
    }
    error = None
    match attempt.outcome:
        case Answer(_, finish_reason, usage, model):
            words |= {"model": model, "finish_reason": finish_reason, **_tokens(usage)}
        case Failure(kind):
            error = str(kind)
            words["error"] = error
    name = f"chat {attempt.requested_model or attempt.target}"
    times = (attempt.started_at, attempt.ended_at)
    return trace.span(Step.CALL, *times, words, line.line, error=error, name=name)


def _tokens(usage: Usage) -> Words:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens or None,
        "cache_write_tokens": usage.cache_write_tokens or None,
        "reasoning_tokens": usage.reasoning_tokens or None,
    }


def _of_engine(trace: _Trace, name: str, attempt: Attempt, engine: EngineTimes) -> Iterator[Span]:
    """Yield what the engine did, inside the call: the replica's clock may differ from the dispatcher's."""
    latest = attempt.ended_at - engine.first_token_seconds - engine.decode_seconds
    arrived_at = max(attempt.started_at, min(engine.arrived_at, latest))
    first_token_at = arrived_at + engine.first_token_seconds
    scheduled_at = first_token_at - engine.prefill_seconds
    phases = (
        (Step.ENGINE_QUEUE, scheduled_at - engine.queue_seconds, scheduled_at),
        (Step.ENGINE_PREFILL, scheduled_at, first_token_at),
        (Step.ENGINE_DECODE, first_token_at, first_token_at + engine.decode_seconds),
    )
    call_id = trace.ids.of(Step.CALL, name)
    for step, started_at, ended_at in phases:
        yield trace.span(step, started_at, ended_at, {"target": attempt.target}, name, parent_id=call_id)


def _message(subject: str, template: str, operation: str | None = None) -> dict[str, str]:
    """Return what the conventions want to know of a message, and of what is done with it."""
    done = {} if operation is None else {"operation": operation, "operation_type": operation}
    return {"system": "nats", "destination": subject, "template": template, **done}
