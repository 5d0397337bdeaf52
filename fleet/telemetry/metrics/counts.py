"""Counts what happens to jobs, in plain integers and lists: some three microseconds for each.

Everything is counted from what the dispatcher has committed, so one call for each batch is all that a job's path knows
of metrics. Names, labels and formats come in when somebody reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fleet.model.attempt import Answer, Attempt, FailureKind
from fleet.model.content import Content
from fleet.model.delivery import AnyDelivery, Committed, JobsOf, Retry, Source, Transition, WorkOf
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import DeadLetter, LedgerEntry, Outbound, Result, Status, Work
from fleet.model.span import is_sampled
from fleet.model.target import Target
from fleet.telemetry.metrics import catalogue
from fleet.telemetry.metrics.catalogue import Metric
from fleet.telemetry.metrics.families import Family, Histogram, Labels, TraceOf, family

ENDS: Mapping[Status, tuple[Reason, ...]] = {
    Status.SUCCEEDED: (Reason.CONFIDENT, Reason.NOT_CHECKED, Reason.CASCADE_OFF, Reason.UNFAMILIAR),
    Status.BEST_EFFORT: (
        *(Reason.LADDER_EXHAUSTED, Reason.OUT_OF_TIME, Reason.OUT_OF_MONEY, Reason.TOO_MANY_DELIVERIES),
    ),
    Status.FAILED: (
        *(Reason.ALL_FAILED, Reason.NO_TARGET, Reason.RESIDENCY, Reason.OUT_OF_MONEY),
        *(Reason.TOO_MANY_DELIVERIES, Reason.INTERNAL_ERROR),
    ),
    Status.EXPIRED: (Reason.DEADLINE_PASSED, Reason.DEADLINE_OUT_OF_REACH),
    Status.CANCELLED: (Reason.CANCELLED,),
    Status.REJECTED: (Reason.INVALID, Reason.OVER_QUOTA),
}
"""Every way a job may end; their series exist at 0."""

ESCALATIONS = (
    *(Reason.LOW_CONFIDENCE, Reason.NOT_CALIBRATED, Reason.UNFAMILIAR, Reason.GUARANTEE_WITHDRAWN, Reason.CASCADE_OFF),
    *(Reason.TARGET_FAILED, Reason.TARGET_UNAVAILABLE, Reason.TARGET_COLD, Reason.OVERLOADED),
    *(Reason.BREAKER_OPEN, Reason.COLD),
)
"""The reasons why jobs go on to another target, or wait for one; their series exist at 0."""

_LOOKS = frozenset((Reason.GREY_BAND, Reason.BACKOFF, Reason.MONEY_BUSY))
"""Reasons of a hand-over that is no escalation: a target only looks at the answer, or the job is there already."""

_WAITS = frozenset((Reason.BREAKER_OPEN, Reason.COLD))

CACHES = ("pattern", "exact", "semantic")


class _Target:
    """The numbers of one target."""

    __slots__ = (
        *("answered", "answered_seconds", "failed_seconds", "failures", "cost", "batches", "confidence"),
        *("input", "output", "cache_read", "cache_write", "reasoning", "queue_seconds", "escalations"),
    )

    def __init__(self) -> None:
        self.answered = self.cost = 0
        self.failures = dict.fromkeys(FailureKind, 0)
        self.input = self.output = self.cache_read = self.cache_write = self.reasoning = 0
        self.answered_seconds = Histogram(catalogue.ATTEMPT_SECONDS)
        self.failed_seconds = Histogram(catalogue.ATTEMPT_SECONDS)
        self.batches = Histogram(catalogue.BATCH_SIZE)
        self.confidence = Histogram(catalogue.CONFIDENCE)
        self.queue_seconds = {lane: Histogram(catalogue.QUEUE_SECONDS) for lane in Lane}
        self.escalations = dict.fromkeys(ESCALATIONS, 0)


class _Targets(dict[str, _Target]):
    """The targets served here, and any other that a job in hand has been to."""

    def __missing__(self, name: str) -> _Target:
        found = self[name] = _Target()
        return found


class JobCounts:
    """A `fleet.ports.Recorder`, and the families of its numbers.

    `targets` are those of the catalogue, `served` the names of those that this process serves.
    """

    def __init__(self, targets: Mapping[str, Target], served: Iterable[str]) -> None:
        self._catalogue = targets
        self._targets = _Targets({name: _Target() for name in sorted(served)})
        self._jobs = {
            (lane, status, reason): 0 for lane in Lane for status, reasons in ENDS.items() for reason in reasons
        }
        self._job_seconds = {
            (lane, target): Histogram(catalogue.JOB_SECONDS) for lane in Lane for target in ("", *self._targets)
        }
        self._intake_seconds = {lane: Histogram(catalogue.INTAKE_SECONDS) for lane in Lane}
        self._dead_letters = dict.fromkeys((*ENDS[Status.FAILED], *ENDS[Status.REJECTED]), 0)
        self._redeliveries = self._deferrals = self._contents = 0
        self._cache_hits = dict.fromkeys(CACHES, 0)

    def committed(self, steps: Sequence[tuple[Transition, Committed]], exported: Sequence[bool], at: float) -> None:
        """See `fleet.ports.Recorder`."""
        for (transition, committed), is_exported in zip(steps, exported, strict=True):
            settlement = transition.settlement
            delivery = settlement.delivery
            is_traced = is_exported or (delivery.traceparent is not None and is_sampled(delivery.traceparent))
            if delivery.deliveries > 1:
                self._redeliveries += 1
            if isinstance(settlement, Retry):
                self._deferrals += 1
            self._contents += sum(isinstance(each, Content) for each in transition.aside)
            for each in _new(transition, committed) if committed.repeated else transition.outbound:
                match each:
                    case LedgerEntry():
                        self._count_line(each, delivery, is_traced, at)
                    case Result():
                        self._count_result(each, delivery, is_traced, at)
                    case Work():
                        self._count_handover(each, delivery.source, at)
                    case DeadLetter():
                        self._dead_letters[each.reason] = self._dead_letters.get(each.reason, 0) + 1
                    case _:
                        pass

    def batched(self, target: str, jobs: int) -> None:
        """See `fleet.ports.Recorder`."""
        self._targets[target].batches.observe(jobs)

    def _count_line(self, entry: LedgerEntry, delivery: AnyDelivery, is_traced: bool, at: float) -> None:
        if entry.status is not None:
            end = entry.lane, entry.status, entry.reason
            self._jobs[end] = self._jobs.get(end, 0) + 1
        attempt = entry.attempt
        if attempt is None:
            return
        of = self._targets[attempt.target]
        trace = (delivery.traceparent, entry.tenant, entry.job_id) if is_traced else None
        self._count_attempt(of, attempt, trace, at)
        if not delivery.is_direct:
            of.queue_seconds[entry.lane].observe(attempt.started_at - delivery.stored_at, trace, at)
        elif attempt.number == 1:
            self._intake_seconds[entry.lane].observe(attempt.started_at - delivery.stored_at, trace, at)

    def _count_attempt(self, of: _Target, attempt: Attempt, trace: TraceOf | None, at: float) -> None:
        seconds, outcome = attempt.ended_at - attempt.started_at, attempt.outcome
        if attempt.cost_usd:
            of.cost += round(attempt.cost_usd * 1e9)
        if not isinstance(outcome, Answer):
            of.failures[outcome.kind] += 1
            of.failed_seconds.observe(seconds, trace, at)
            return
        of.answered += 1
        of.answered_seconds.observe(seconds, trace, at)
        usage = outcome.usage
        of.input += usage.input_tokens
        of.output += usage.output_tokens
        of.cache_read += usage.cached_input_tokens
        of.cache_write += usage.cache_write_tokens
        of.reasoning += usage.reasoning_tokens
        if attempt.confidence is not None and attempt.probe is None:
            of.confidence.observe(attempt.confidence, trace, at)

    def _count_result(self, result: Result, delivery: AnyDelivery, is_traced: bool, at: float) -> None:
        if result.submitted_at is None:  # nobody could read the job
            return
        if result.target in self._cache_hits:
            self._cache_hits[result.target] += 1
        place = delivery.source.lane, result.target or ""
        found = self._job_seconds.get(place)
        if found is None:
            found = self._job_seconds[place] = Histogram(catalogue.JOB_SECONDS)
        trace = (delivery.traceparent, result.tenant, result.job_id) if is_traced else None
        found.observe(result.finished_at - result.submitted_at, trace, at)

    def _count_handover(self, work: Work, source: Source, at: float) -> None:
        if isinstance(source, JobsOf):
            self._intake_seconds[source.lane].observe(at - work.job.submitted_at)
        elif (left := escalated_from(work, source)) is not None:
            counts = self._targets[left].escalations
            counts[work.reason] = counts.get(work.reason, 0) + 1

    def read(self) -> Iterator[Family]:
        """Yield every family that is counted here."""
        yield family(catalogue.JOBS, self._jobs)
        yield _histograms(catalogue.JOB_SECONDS, self._job_seconds)
        missed = {lane: sum(self._jobs[lane, Status.EXPIRED, why] for why in ENDS[Status.EXPIRED]) for lane in Lane}
        yield family(catalogue.DEADLINE_MISSED, {(lane,): jobs for lane, jobs in missed.items()})
        yield _histograms(catalogue.INTAKE_SECONDS, {(lane,): each for lane, each in self._intake_seconds.items()})
        yield from self._of_queues()
        yield family(catalogue.REDELIVERIES, {(): self._redeliveries})
        yield family(catalogue.DEFERRALS, {(): self._deferrals})
        yield family(catalogue.DEAD_LETTERS, {(reason,): letters for reason, letters in self._dead_letters.items()})
        yield family(catalogue.CONTENTS_SENT, {(): self._contents})
        yield family(catalogue.CACHE_HITS, {(kind,): jobs for kind, jobs in self._cache_hits.items()})
        yield from self._of_calls()
        yield from self._of_tokens()

    def _of_queues(self) -> Iterator[Family]:
        queues = {(name, lane): of.queue_seconds[lane] for name, of in self._targets.items() for lane in Lane}
        yield _histograms(catalogue.QUEUE_SECONDS, queues)
        escalations = {(name, why): jobs for name, of in self._targets.items() for why, jobs in of.escalations.items()}
        yield family(catalogue.ESCALATIONS, escalations)

    def _of_calls(self) -> Iterator[Family]:
        targets = self._targets.items()
        ended: dict[tuple[str, str], int] = {(name, "answered"): of.answered for name, of in targets}
        ended |= {(name, kind.value): calls for name, of in targets for kind, calls in of.failures.items()}
        yield family(catalogue.ATTEMPTS, ended)
        seconds = {(*self._model(name), ""): of.answered_seconds for name, of in targets}
        seconds |= {(*self._model(name), "_OTHER"): of.failed_seconds for name, of in targets}
        yield _histograms(catalogue.ATTEMPT_SECONDS, seconds)
        yield family(catalogue.COST, {(name,): of.cost / 1e9 for name, of in targets})
        yield _histograms(catalogue.BATCH_SIZE, {(name,): of.batches for name, of in targets})
        yield _histograms(catalogue.CONFIDENCE, {(name,): of.confidence for name, of in targets})

    def _of_tokens(self) -> Iterator[Family]:
        for metric, attribute in (
            (catalogue.INPUT_TOKENS, "input"),
            (catalogue.OUTPUT_TOKENS, "output"),
            (catalogue.CACHE_READ_TOKENS, "cache_read"),
            (catalogue.CACHE_WRITE_TOKENS, "cache_write"),
            (catalogue.REASONING_TOKENS, "reasoning"),
        ):
            tokens = {(*self._model(name), "text"): getattr(of, attribute) for name, of in self._targets.items()}
            yield family(metric, tokens)

    def _model(self, name: str) -> tuple[str, str, str, str]:
        """Return the values of `catalogue.MODEL_LABELS`."""
        target = self._catalogue.get(name)
        return (name, "chat", "", "") if target is None else (name, "chat", target.provider, target.model)


def escalated_from(work: Work, source: WorkOf) -> str | None:
    """Return the target that a job leaves for another one, or None where the hand-over is no escalation."""
    if work.shadow is not None or work.reason in _LOOKS:
        return None
    if work.reason in _WAITS and work.target == source.target:
        return None
    left = next((attempt.target for attempt in reversed(work.attempts) if attempt.probe is None), source.target)
    return None if left == work.target else left


def _new(transition: Transition, committed: Committed) -> Sequence[Outbound]:
    """Return what was not there already, so that a step counts once, whichever dispatcher takes it again.

    A job that had its result is in the accounts already, though after a while the broker takes its line again.
    """
    found = [each for each in transition.outbound if not any(each is repeated for repeated in committed.repeated)]
    had_result = any(isinstance(each, Result) for each in committed.repeated)
    return [each for each in found if not isinstance(each, LedgerEntry)] if had_result else found


def _histograms(metric: Metric, values: Mapping[Labels, Histogram]) -> Family:
    return family(metric, {labels: histogram.read() for labels, histogram in values.items()})
