"""Announces what has happened, so that nothing else has to wait for it: a webhook is a courtesy, a batch is not."""

from __future__ import annotations

from fleet.logs import get_logger
from fleet.model.batch import Batch
from fleet.model.errors import QueueRefused
from fleet.model.webhook import Announced, EventType, WebhookEvent
from fleet.ports import EventOutbox

log = get_logger(__name__)


async def announce(outbox: EventOutbox, announced: Announced) -> None:
    """Store what has happened. An outbox that refuses it, as a full one does, is logged: then nobody is told.

    Raises: QueueUnavailable if the broker does not answer.
    """
    try:
        await outbox.announce([announced])
    except QueueRefused as error:
        log.warning("event_not_announced", tenant=announced.tenant, error=str(error))


def event_of_batch(batch: Batch) -> WebhookEvent:
    """Return the event of a batch that has ended. Raises: ValueError if it has not."""
    type = EventType(f"batch.{batch.status}")
    ends = (batch.completed_at, batch.failed_at, batch.expired_at, batch.cancelled_at)
    return WebhookEvent(batch.tenant, type, batch.id, max(at for at in ends if at is not None))
