"""The names that telemetry has outside the fleet, so that a renamed convention is one change here.

`gen_ai.*` and `messaging.*` are those of the OpenTelemetry semantic conventions in the versions below, both still in
development; all else is the fleet's own, under `fleet.`. docs/how-to/tracing.md lists the names of spans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fleet.model.span import AttributeValue

GEN_AI_CONVENTIONS: Final = "1.42.0"
"""The version of open-telemetry/semantic-conventions-genai that the names follow."""

MESSAGING_CONVENTIONS: Final = "1.44.0"
"""The version of open-telemetry/semantic-conventions that the names follow. `nats` is a value of our own in it."""

SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_MODALITY: Final = "gen_ai.token.modality"
ERROR_TYPE: Final = "error.type"

GEN_AI_DURATION: Final = "gen_ai.client.inference.duration"
GEN_AI_USAGE: Final = "gen_ai.client.inference.usage"
"""The conventions' names for the duration of a model call, and for what counts its tokens."""

GEN_AI_DURATION_BOUNDS: Final = tuple(0.01 * 2**power for power in range(14))
"""The buckets that the conventions ask for, in seconds: 0.01 to 81.92."""

ATTRIBUTES: Final[Mapping[str, str]] = {
    "system": "messaging.system",
    "operation": "messaging.operation.name",
    "operation_type": "messaging.operation.type",
    "destination": "messaging.destination.name",
    "template": "messaging.destination.template",
    "job_id": "messaging.message.id",
    "batch_size": "messaging.batch.message_count",
    "call": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "requested_model": "gen_ai.request.model",
    "model": "gen_ai.response.model",
    "finish_reason": "gen_ai.response.finish_reasons",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "error": "error.type",
    "tenant": "fleet.tenant",
    "lane": "fleet.lane",
    "task": "fleet.task",
    "plan": "fleet.plan",
    "target": "fleet.target",
    "region": "fleet.region",
    "adapter": "fleet.adapter",
    "from_target": "fleet.from_target",
    "attempt": "fleet.attempt.number",
    "attempts": "fleet.attempts",
    "batch": "fleet.batch.id",
    "probe": "fleet.probe",
    "repeated": "fleet.repeated",
    "cached_job_id": "fleet.cached.job_id",
    "cached_target": "fleet.cached.target",
    "cached_seconds": "fleet.cached.age_seconds",
    "confidence": "fleet.confidence",
    "threshold": "fleet.threshold",
    "calibration": "fleet.calibration",
    "cost_usd": "fleet.cost_usd",
    "deliveries": "fleet.deliveries",
    "reason": "fleet.reason",
    "status": "fleet.status",
}
"""The dispatcher's words and their names in a trace."""

_LISTS: Final = frozenset({"finish_reason"})
"""Words whose values the conventions want as lists: one entry per choice."""


def translated(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue | Sequence[str]]:
    """Return the attributes under the conventions' names; a word that has none there keeps its own, below `fleet.`."""
    return {
        ATTRIBUTES.get(word, f"fleet.{word}"): (str(value),) if word in _LISTS else value
        for word, value in attributes.items()
    }
