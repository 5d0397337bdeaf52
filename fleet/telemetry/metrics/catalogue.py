"""Every metric: its name, kind, labels and buckets. Queries, alerts and dashboards are written against this list.

No label holds a tenant, a job or a task of a tenant's choice, so the number of series is bounded by the operator's own
files. One process's exemplars lead from a bucket to the trace of a job in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fleet.telemetry.names import (
    ERROR_TYPE,
    GEN_AI_DURATION,
    GEN_AI_DURATION_BOUNDS,
    GEN_AI_MODALITY,
    GEN_AI_OPERATION,
    GEN_AI_PROVIDER,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_USAGE,
)


class MetricKind(StrEnum):
    """The kind of a metric: COUNTER only grows, GAUGE is the state at the moment of the scrape."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. `name`, `unit` (UCUM) and `labels` are OpenTelemetry's; Prometheus' follow from them by its own rule.

    `bounds` are the inclusive upper bounds of a histogram's buckets, without the last, infinity. `shared` marks a
    gauge of the whole fleet, which every dispatcher reports alike: take the maximum over processes, not the sum.
    """

    name: str
    kind: MetricKind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    shared: bool = False

    @property
    def prometheus_name(self) -> str:
        """The name of the family in Prometheus, without the suffix of a sample."""
        plain = self.name.replace(".", "_")
        return f"{plain}_seconds" if self.unit == "s" and not plain.endswith("_seconds") else plain

    @property
    def prometheus_labels(self) -> tuple[str, ...]:
        return tuple(label.replace(".", "_") for label in self.labels)

    @property
    def series(self) -> tuple[str, ...]:
        """The names to query in Prometheus."""
        match self.kind:
            case MetricKind.COUNTER:
                return (f"{self.prometheus_name}_total",)
            case MetricKind.GAUGE:
                return (self.prometheus_name,)
            case MetricKind.HISTOGRAM:
                return tuple(f"{self.prometheus_name}_{part}" for part in ("bucket", "sum", "count"))


LATENCY_BOUNDS: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 28800)
"""From an idle fleet's fastest answers to bulk jobs that wait for the night."""

WAIT_BOUNDS: Final = (0.01, 0.05, 0.25, 1, 5, 30, 120, 600, 3600, 28800)

BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CONFIDENCE_BOUNDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

MODEL_LABELS: Final = ("target", GEN_AI_OPERATION, GEN_AI_PROVIDER, GEN_AI_REQUEST_MODEL)
"""The labels of a call to a model: the fleet's own, and those that the conventions ask for, which follow from it."""

LABELS: Final[Mapping[str, str]] = {
    "lane": "`interactive`, `standard`, `bulk`",
    "status": "the status of a result ([wire](wire.md))",
    "reason": "the reason word of a result, an escalation or a dead letter (`fleet/model/reason.py`); "
    "of a webhook, [why it did not arrive](../how-to/webhooks.md#watch-it)",
    "target": "a target of the catalogue",
    "outcome": "`answered`, or the kind of the failure (`fleet/model/attempt.py`); "
    "of a webhook: `delivered`, `failed`, `gone`",
    "scope": "`fleet`",
    "task": "the task family of a calibration; `*` stands for all",
    "adapter": "of a calibration: the digest of the adapter that answers; empty, for the base",
    "kind": "of a calibration: the kind of output, `*` stands for all; of a cache: `exact`, `semantic`",
    "state": "of a promise of the semantic cache: `serving`, `withdrawn`",
    GEN_AI_OPERATION: "`chat`",
    GEN_AI_PROVIDER: "the provider of the target; `fleet` for the fleet's own models",
    GEN_AI_REQUEST_MODEL: "the model that the target asks for",
    GEN_AI_MODALITY: "`text`",
    "route": "a path of the gateway, with the names of its parameters; empty for one that is none",
    "http_status": "the status of the answer",
    ERROR_TYPE: "empty for calls that were answered, `_OTHER` for those that failed",
}
"""The values of each label."""


def _counter(name: str, unit: str, help: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.COUNTER, unit, help, labels)


def _gauge(name: str, unit: str, help: str, *labels: str, shared: bool = False) -> Metric:
    return Metric(name, MetricKind.GAUGE, unit, help, labels, shared=shared)


def _histogram(name: str, unit: str, bounds: tuple[float, ...], help: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, unit, help, labels, bounds)


JOBS: Final = _counter("fleet.jobs", "{job}", "Jobs that ended, by how and why.", "lane", "status", "reason")
JOB_SECONDS: Final = _histogram(
    "fleet.job_seconds",
    "s",
    LATENCY_BOUNDS,
    "Time from storing a job to storing its result; target is the one that gave the answer, empty without one.",
    *("lane", "target"),
)
DEADLINE_MISSED: Final = _counter("fleet.deadline_missed", "{job}", "Jobs that ended as expired.", "lane")
ESCALATIONS: Final = _counter(
    "fleet.escalations", "{job}", "Jobs that went on to another target, at the one they left.", "target", "reason"
)
REDELIVERIES: Final = _counter(
    "fleet.redeliveries", "{delivery}", "Messages that came again: after a wait, a lost lease or a crash."
)
DEFERRALS: Final = _counter(
    "fleet.deferrals",
    "{delivery}",
    "Messages put back to wait, which then come again.",
)
DEAD_LETTERS: Final = _counter("fleet.dead_letters", "{message}", "Dead letters stored.", "reason")
INTAKE_SECONDS: Final = _histogram(
    "fleet.intake_seconds",
    "s",
    WAIT_BOUNDS,
    "Time from storing a job to handing it to its first target, or to calling that at once.",
    "lane",
)
QUEUE_SECONDS: Final = _histogram(
    "fleet.queue_seconds",
    "s",
    WAIT_BOUNDS,
    "Time from storing work for its target to calling the target for it.",
    *("target", "lane"),
)

ATTEMPTS: Final = _counter(
    "fleet.attempts", "{attempt}", "Calls of targets that ended, by outcome.", "target", "outcome"
)
ATTEMPT_SECONDS: Final = _histogram(
    GEN_AI_DURATION, "s", GEN_AI_DURATION_BOUNDS, "Duration of calls of targets.", *MODEL_LABELS, ERROR_TYPE
)
INPUT_TOKENS: Final = _counter(
    f"{GEN_AI_USAGE}.input_tokens", "{token}", "Tokens read by models.", *MODEL_LABELS, GEN_AI_MODALITY
)
OUTPUT_TOKENS: Final = _counter(
    f"{GEN_AI_USAGE}.output_tokens", "{token}", "Tokens written by models.", *MODEL_LABELS, GEN_AI_MODALITY
)
CACHE_READ_TOKENS: Final = _counter(
    f"{GEN_AI_USAGE}.cache_read.input_tokens",
    "{token}",
    "Input tokens that models read from their servers' caches.",
    *(*MODEL_LABELS, GEN_AI_MODALITY),
)
CACHE_WRITE_TOKENS: Final = _counter(
    f"{GEN_AI_USAGE}.cache_write.input_tokens",
    "{token}",
    "Input tokens that models' servers wrote to their caches.",
    *(*MODEL_LABELS, GEN_AI_MODALITY),
)
REASONING_TOKENS: Final = _counter(
    f"{GEN_AI_USAGE}.reasoning.output_tokens",
    "{token}",
    "Output tokens that models thought and did not say.",
    *(*MODEL_LABELS, GEN_AI_MODALITY),
)
COST: Final = _counter("fleet.cost_usd", "{USD}", "Cost of calls in US dollars, as in the ledger.", "target")
BATCH_SIZE: Final = _histogram("fleet.batch_size", "{job}", BATCH_BOUNDS, "Jobs in a micro-batch.", "target")
CONFIDENCE: Final = _histogram("fleet.confidence", "1", CONFIDENCE_BOUNDS, "Confidence of answers.", "target")
CONTENTS_SENT: Final = _counter("fleet.contents_sent", "{content}", "Contents that rules collect, sent to be stored.")
CACHE_HITS: Final = _counter(
    "fleet.cache_hits",
    "{job}",
    "Jobs answered without a model: `pattern` with a written answer, `exact` and `semantic` with one given before.",
    "kind",
)

JOBS_WAITING: Final = _gauge(
    "fleet.jobs_waiting", "{job}", "Jobs stored and not handed to a target yet.", "lane", shared=True
)
JOBS_OLDEST: Final = _gauge(
    "fleet.jobs_oldest_seconds",
    "s",
    "Age of the oldest of these jobs, those that may not run yet included; 0 without any.",
    *("lane",),
    shared=True,
)
WORK_WAITING: Final = _gauge(
    "fleet.work_waiting",
    "{job}",
    "Jobs stored for a target, waiting or in hand; those that run on the message they came in with are not stored.",
    *("target", "lane"),
    shared=True,
)
WORK_WAITING_TOKENS: Final = _gauge(
    "fleet.work_waiting_tokens", "{token}", "Tokens of these jobs, as estimated.", "target", "lane", shared=True
)
WORK_OLDEST: Final = _gauge(
    "fleet.work_oldest_seconds", "s", "Age of the oldest of these jobs; 0 without any.", "target", "lane", shared=True
)
IN_FLIGHT: Final = _gauge("fleet.work_in_flight", "{job}", "Jobs that run at a target for this dispatcher.", "target")
REPLICAS: Final = _gauge(
    "fleet.replicas", "{replica}", "Replicas that run; self-hosted targets on Ray only.", "target", shared=True
)
REPLICAS_STARTING: Final = _gauge("fleet.replicas_starting", "{replica}", "Replicas that start.", "target", shared=True)
BREAKER_OPEN: Final = _gauge(
    "fleet.breaker_open", "1", "Whether this dispatcher sends the target no jobs of the fleet's own account.", "target"
)
BROKER_SILENT: Final = _gauge(
    "fleet.broker_silent_seconds", "s", "Time since the broker last answered this dispatcher's reading of the queues."
)
SPEND: Final = _gauge(
    "fleet.spend_usd", "{USD}", "Spent outside the fleet today (UTC), as last seen.", "scope", shared=True
)
SPEND_LIMIT: Final = _gauge("fleet.spend_limit_usd", "{USD}", "Limit of that spending for a day.", "scope", shared=True)
CALIBRATION: Final = _gauge(
    "fleet.calibration_in_force",
    "1",
    "Whether a calibration with its promise judges the target's answers.",
    *("target", "task", "kind", "adapter"),
    shared=True,
)
PROMISE_WITHDRAWN: Final = _gauge(
    "fleet.promise_withdrawn",
    "1",
    "Whether the calibration's promise is withdrawn, as traffic has moved away from it.",
    *("target", "task", "kind", "adapter"),
    shared=True,
)

CACHE_QUESTIONS: Final = _gauge(
    "fleet.cache_questions",
    "{question}",
    "Cached questions that the semantic cache compares with; no series where it is off or has no encoder.",
)
CACHE_PROMISES: Final = _gauge(
    "fleet.cache_promises",
    "{promise}",
    "Promises of the semantic cache, for tenants and tasks: `serving` and `withdrawn`.",
    "state",
    shared=True,
)

LEDGER_LAG_LINES: Final = _gauge("fleet.ledger_lag_lines", "{line}", "Ledger lines stored and not in the database yet.")
LEDGER_LAG_SECONDS: Final = _gauge(
    "fleet.ledger_lag_seconds", "s", "Time since when ledger lines wait to be written, or may wait; 0 while none does."
)
LEDGER_LINES: Final = _counter("fleet.ledger_lines", "{line}", "Ledger lines written to the database.")
LEDGER_MISSED: Final = _counter(
    "fleet.ledger_missed",
    "{line}",
    "Ledger lines that the stream lost before they were written, by the database's count; no series before it answers.",
)
LEDGER_ERRORS: Final = _counter("fleet.ledger_errors", "{error}", "Ledger batches that could not be written.")

CONTENT_LAG_SECONDS: Final = _gauge(
    "fleet.content_lag_seconds", "s", "Time since when contents wait to be stored, or may wait; 0 while none does."
)
CONTENTS_STORED: Final = _counter("fleet.contents_stored", "{content}", "Contents written to the content store.")
CONTENT_ERRORS: Final = _counter("fleet.content_errors", "{error}", "Failures to take or to store contents.")

GATEWAY_REQUESTS: Final = _counter(
    "fleet.gateway_requests", "{request}", "Requests that the gateway answered.", "route", "http_status"
)
GATEWAY_SECONDS: Final = _histogram(
    "fleet.gateway_seconds",
    "s",
    LATENCY_BOUNDS,
    "Time from a request's head to the end of its answer; of a stream, its whole length.",
    *("route",),
)
GATEWAY_OPEN: Final = _gauge("fleet.gateway_open_requests", "{request}", "Requests under way in this gateway.")
BATCHES_RUNNING: Final = _gauge("fleet.batches_running", "{batch}", "Batches that this process runs.")
WEBHOOK_ATTEMPTS: Final = _counter(
    "fleet.webhook_attempts", "{attempt}", "Attempts to tell an endpoint of an event.", "outcome"
)
WEBHOOKS_GIVEN_UP: Final = _counter(
    "fleet.webhooks_given_up", "{webhook}", "Events that an endpoint is not told of, by why.", "reason"
)
WEBHOOKS_WAITING: Final = _gauge(
    "fleet.webhooks_waiting", "{webhook}", "Events that wait to be told, or to be told again.", shared=True
)

GROUPS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "Jobs": (
        *(JOBS, JOB_SECONDS, DEADLINE_MISSED, INTAKE_SECONDS, QUEUE_SECONDS),
        *(ESCALATIONS, REDELIVERIES, DEFERRALS, DEAD_LETTERS, CONTENTS_SENT, CACHE_HITS),
    ),
    "Calls of targets": (
        *(ATTEMPTS, ATTEMPT_SECONDS, COST, BATCH_SIZE, CONFIDENCE),
        *(INPUT_TOKENS, OUTPUT_TOKENS, CACHE_READ_TOKENS, CACHE_WRITE_TOKENS, REASONING_TOKENS),
    ),
    "Queues and targets now": (
        *(JOBS_WAITING, JOBS_OLDEST, WORK_WAITING, WORK_WAITING_TOKENS, WORK_OLDEST, IN_FLIGHT),
        *(REPLICAS, REPLICAS_STARTING, BREAKER_OPEN, BROKER_SILENT),
    ),
    "Money and trust now": (SPEND, SPEND_LIMIT, CALIBRATION, PROMISE_WITHDRAWN),
    "Writer of the ledger database": (
        *(LEDGER_LAG_LINES, LEDGER_LAG_SECONDS, LEDGER_LINES, LEDGER_ERRORS, LEDGER_MISSED),
    ),
    "Collector of contents": (CONTENT_LAG_SECONDS, CONTENTS_STORED, CONTENT_ERRORS),
    "Gateway": (GATEWAY_REQUESTS, GATEWAY_SECONDS, GATEWAY_OPEN),
    "Runner of batches": (BATCHES_RUNNING,),
    "Delivery of webhooks": (WEBHOOK_ATTEMPTS, WEBHOOKS_GIVEN_UP, WEBHOOKS_WAITING),
}
"""The metrics by what they are about, or by the process that has them; all others are every dispatcher's."""

METRICS: Final = tuple(metric for group in GROUPS.values() for metric in group)
