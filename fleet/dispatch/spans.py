"""Spans that the dispatcher records for a job: one trace from the publisher's traceparent to the result.

Spans are recorded after the fact with explicit times. Attribute keys are the project's own words;
the tracer translates them into the conventions it exports.
"""

from __future__ import annotations

from fleet.dispatch.in_flight import InFlightJob
from fleet.model.attempt import Answer, Attempt
from fleet.model.delivery import AnyDelivery, JobsOf, Transition
from fleet.model.job import Job
from fleet.model.result import Result, Work
from fleet.model.span import AttributeValue, Span, SpanName
from fleet.model.target import Target
from fleet.ports import Tracer


class Spans:
    """Records the spans of one dispatcher; without a tracer, only passes the parent on."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    def taken(self, delivery: AnyDelivery, parent: str | None, at: float) -> None:
        """Record the time a delivery waited in its queue."""
        if self._tracer is not None and self._tracer.keeps(parent):
            attributes: dict[str, AttributeValue] = {"deliveries": delivery.deliveries}
            self._record(SpanName.QUEUE_WAIT, parent, delivery.stored_at, at, attributes)

    def intake(self, delivery: AnyDelivery, started_at: float, ended_at: float) -> str | None:
        """Record a job's first span, the root of its trace if the publisher sent none; return its traceparent."""
        if self._tracer is None or not self._tracer.keeps(delivery.traceparent):
            return delivery.traceparent
        body = delivery.body
        attributes = _job(body) if isinstance(body, Job) else {}
        intake = self._record(SpanName.INTAKE, delivery.traceparent, started_at, ended_at, attributes)
        self.taken(delivery, delivery.traceparent or intake, started_at)
        return intake

    def turned_down(self, delivery: AnyDelivery, started_at: float, ended_at: float) -> str | None:
        """Record the spans of a message that holds no job; one from intake begins its trace."""
        if isinstance(delivery.source, JobsOf):
            return self.intake(delivery, started_at, ended_at)
        self.taken(delivery, delivery.traceparent, started_at)
        return delivery.traceparent

    def batch(self, deliveries: list[AnyDelivery], target: str, started_at: float, ended_at: float) -> None:
        """Record one span for a micro-batch; its jobs are linked, since none of them is its parent."""
        if self._tracer is None:
            return
        links = tuple(d.traceparent for d in deliveries if d.traceparent and self._tracer.keeps(d.traceparent))
        if not links:
            return
        attributes: dict[str, AttributeValue] = {"target": target, "batch_size": len(deliveries)}
        self._tracer.record(Span(SpanName.BATCH, None, started_at, ended_at, attributes, links))

    def model_call(self, inflight: InFlightJob, attempt: Attempt, target: Target) -> None:
        parent = inflight.delivery.traceparent
        if self._tracer is None or not self._tracer.keeps(parent):
            return
        error = None if isinstance(attempt.outcome, Answer) else str(attempt.outcome.kind)
        attributes = _job(inflight.job) | _attempt(attempt)
        attributes |= {"provider": target.provider, "requested_model": target.model}
        self._record(SpanName.MODEL_CALL, parent, attempt.started_at, attempt.ended_at, attributes, error)

    def published(self, transition: Transition, started_at: float, ended_at: float) -> None:
        """Record what was stored: work for the first target, an escalation to the next, or the result."""
        traceparent = transition.traceparent
        if self._tracer is None or not self._tracer.keeps(traceparent):
            return
        for each in transition.everything:
            match each:
                case Work(attempts=()):
                    self._record(SpanName.PUBLISH, traceparent, started_at, ended_at, {"target": each.target})
                case Work():
                    attributes: dict[str, AttributeValue] = {"target": each.target, "reason": str(each.reason)}
                    self._record(SpanName.ESCALATE, traceparent, started_at, ended_at, attributes)
                case Result():
                    self._record(SpanName.PUBLISH, traceparent, started_at, ended_at, _result(each))
                case _:
                    pass

    def _record(
        self,
        name: SpanName,
        parent: str | None,
        started_at: float,
        ended_at: float,
        attributes: dict[str, AttributeValue],
        error: str | None = None,
    ) -> str | None:
        if self._tracer is None:
            return parent
        return self._tracer.record(Span(name, parent, started_at, ended_at, attributes, error=error))


def _job(job: Job) -> dict[str, AttributeValue]:
    return {"job_id": job.id, "tenant": job.tenant, "lane": str(job.lane), "task": job.task, "plan": str(job.plan)}


def _attempt(attempt: Attempt) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "target": attempt.target,
        "attempt": attempt.number,
        "reason": str(attempt.reason),
        "cost_usd": attempt.cost_usd,
    }
    if attempt.confidence is not None:
        attributes["confidence"] = attempt.confidence
    if attempt.region is not None:
        attributes["region"] = attempt.region
    if isinstance(attempt.outcome, Answer):
        usage = attempt.outcome.usage
        attributes |= {
            "model": attempt.outcome.model,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "finish_reason": attempt.outcome.finish_reason,
        }
        for name in ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens"):
            if tokens := getattr(usage, name):
                attributes[name] = tokens
    return attributes


def _result(result: Result) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "job_id": result.job_id,
        "status": str(result.status),
        "reason": str(result.reason),
        "cost_usd": result.cost_usd,
    }
    if result.target is not None:
        attributes["target"] = result.target
    return attributes
