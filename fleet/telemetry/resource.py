"""The description of this process that goes with everything it sends over OTLP."""

from __future__ import annotations

import uuid

from opentelemetry.sdk.resources import Resource

from fleet.telemetry.names import SERVICE_INSTANCE_ID, SERVICE_NAME


def service() -> Resource:
    """Return the SDK's description of this service, with our name if the environment gives none."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "fleet"}))
    return resource


def service_instance() -> Resource:
    """Return the service with an id of this process, without which a receiver would mix the sums of several."""
    resource = service()
    if SERVICE_INSTANCE_ID in resource.attributes:
        return resource
    return resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid.uuid4())}))
