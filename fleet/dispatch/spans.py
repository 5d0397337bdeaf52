"""Keeps the traces of jobs that deserve it, decided once they have ended.

Nothing is recorded while a job is carried: its ledger lines say all, and the dispatcher that stores its result has
them in hand. So one process decides about the whole trace and exports it, once; a second result, which is refused,
exports nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from fleet.dispatch.in_flight import InFlightJob, MicroBatch
from fleet.model.delivery import AnyDelivery, Committed, Transition
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Malformed, Result, Work
from fleet.model.span import AttributeValue, Link, Sampling, Span, Step, batch_of, span_id_of
from fleet.ports import Tracer
from policies.resilience.deadline import deadline_at
from policies.rules.rules import Rules
from policies.tracing import JobPace, is_notable, kept_by_id

WINDOW = 512
SLOW_SHARE = 0.01
"""A job is slow if it took longer than all but this share of the last full window of its lane's jobs."""

SAVED_SECONDS = 2.0
"""Time for which traces of notable jobs that there might have been are saved up."""


class Spans:
    """The traces of one dispatcher's jobs; without a tracer there are none."""

    def __init__(self, tracer: Tracer | None, rules: Rules) -> None:
        self._tracer = tracer
        self._rules = rules
        self._sampling = Sampling(0.0, notable=False) if tracer is None else tracer.sampling
        self._usual = {lane: UsualTime() for lane in Lane}
        self._allowance = ExportAllowance(self._sampling.notable_per_second)

    def stored(self, transition: Transition, committed: Committed) -> bool:
        """Take in a transition that was committed, and export the trace of the job or comparison that ended with it.

        Return whether there was one to export.
        """
        if self._tracer is None:
            return False
        line = result = None
        for each in transition.outbound:
            if isinstance(each, LedgerEntry):
                line = each
            elif isinstance(each, Result):
                result = each
        if line is None:
            return False
        lines: tuple[LedgerEntry, ...]
        if result is None:
            is_comparison = line.attempt is not None and line.attempt.reason is Reason.SHADOW
            lines = (line,) if is_comparison and self._is_kept_by_id(line) else ()
        else:
            is_first = not committed.repeated or not any(each is result for each in committed.repeated)
            is_kept = is_first and self._is_kept(line, result, transition.delivery)
            lines = _lines_of(line, result) if is_kept else ()
        if lines:
            self._tracer.export(lines)
        return bool(lines)

    def ran(self, jobs: Sequence[InFlightJob], target: str, batch: MicroBatch, ended_at: float) -> None:
        """Export a span for a micro-batch; the calls in it are linked, since a batch is nobody's parent.

        Only those whose traces are kept for their ids: how the other jobs end is not known yet.
        """
        if self._tracer is None or batch.id is None or batch.size < 2:
            return
        links = tuple(link for each in jobs if (link := self._link(each)) is not None)
        if links:
            own, name = batch_of(batch.id), f"fleet.{Step.BATCH}"
            said: dict[str, AttributeValue] = {"target": target, "batch": batch.id, "batch_size": batch.size}
            times = (batch.started_at, ended_at)
            self._tracer.export_span(Span(Step.BATCH, name, own.trace_id, own.span_id, None, *times, said, links))

    def _is_kept(self, end: LedgerEntry, result: Result, delivery: AnyDelivery) -> bool:
        pace = self._pace(end, delivery)
        if self._is_kept_by_id(end):
            return True
        notable = is_notable(result.status, result.attempts, pace, self._sampling)
        return notable and self._allowance.take(end.at)

    def _pace(self, end: LedgerEntry, delivery: AnyDelivery) -> JobPace:
        """Return how fast the job was answered; one that was to wait is measured from then on."""
        body = delivery.body
        job = body.job if isinstance(body, Work) else body
        if isinstance(job, Malformed):
            return JobPace(0.0, math.inf, math.inf)
        due_at = max(job.submitted_at, job.not_before_at or 0.0)
        taken = end.at - due_at
        return JobPace(taken, self._usual[job.lane].note(taken), deadline_at(job, self._rules) - due_at)

    def _is_kept_by_id(self, line: LedgerEntry) -> bool:
        return kept_by_id(line.traceparent, line.tenant, line.job_id, self._sampling) is not None

    def _link(self, inflight: InFlightJob) -> Link | None:
        job, shadow = inflight.job, inflight.shadow
        job_id = job.id if shadow is None else shadow.job_id
        trace_id = kept_by_id(inflight.delivery.traceparent, job.tenant, job_id, self._sampling)
        if trace_id is None:
            return None
        number = f"{len(inflight.attempts) + 1}{'' if shadow is None or not shadow.of_diet else '.diet'}"
        line = f"{number}.again" if inflight.repeated else number
        return Link(trace_id, span_id_of(job.tenant, job_id, Step.CALL, line))


class UsualTime:
    """The time that all but a few jobs take, by the last full window of them; infinite before there is one."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._usual = math.inf

    def note(self, seconds: float) -> float:
        """Take in the time of a job; return the usual time."""
        self._seconds.append(seconds)
        if len(self._seconds) >= WINDOW:
            self._usual = sorted(self._seconds)[int(WINDOW * (1.0 - SLOW_SHARE))]
            self._seconds.clear()
        return self._usual


class ExportAllowance:
    """A maximum of exports a second: while everything fails, tracing must not slow down what still works."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, SAVED_SECONDS * per_second)
        self._left = self._most
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Return whether there is one left, and take it."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._per_second)
        self._at = max(self._at, now)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def _lines_of(end: LedgerEntry, result: Result) -> tuple[LedgerEntry, ...]:
    """Return the lines that the ledger holds of the job, as far as a trace is made of them."""
    earlier = (each for each in result.attempts if each is not end.attempt)
    return (*(replace(end, attempt=each, status=None) for each in earlier), end)
