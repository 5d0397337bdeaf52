"""What has happened is announced, and nothing waits for that but a broker that is away."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from fleet.model.batch import Batch, BatchStatus
from fleet.model.errors import QueueRefused, QueueUnavailable
from fleet.model.webhook import Announced, EventType, WebhookEvent
from fleet.webhooks.announcing import announce, event_of_batch

EVENT = WebhookEvent("acme", EventType.BATCH_COMPLETED, "batch_1", 1000.5)


class Refusing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def announce(self, announced: Sequence[Announced]) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("status", "time"),
    [
        (BatchStatus.COMPLETED, "completed_at"),
        (BatchStatus.FAILED, "failed_at"),
        (BatchStatus.EXPIRED, "expired_at"),
        (BatchStatus.CANCELLED, "cancelled_at"),
    ],
)
def test_a_batch_that_has_ended_is_an_event_of_that_moment(status: BatchStatus, time: str) -> None:
    batch = Batch("batch_1", "acme", "/v1/chat/completions", "file-1", 60.0, 1.0, status=status, **{time: 1000.5})
    assert event_of_batch(batch) == WebhookEvent("acme", EventType(f"batch.{status}"), "batch_1", 1000.5)


@pytest.mark.parametrize("status", [status for status in BatchStatus if not status.is_final])
def test_a_batch_that_has_not_ended_is_none(status: BatchStatus) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        event_of_batch(Batch("batch_1", "acme", "/v1/chat/completions", "file-1", 60.0, 1.0, status=status))


async def test_an_outbox_that_refuses_holds_up_nobody_and_is_told_of() -> None:
    with capture_logs() as lines:
        await announce(Refusing(QueueRefused("full")), EVENT)
    assert [(line["event"], line["tenant"]) for line in lines] == [("event_not_announced", "acme")]


async def test_a_broker_that_is_away_is_waited_for_by_whoever_announces() -> None:
    with pytest.raises(QueueUnavailable):
        await announce(Refusing(QueueUnavailable("away")), EVENT)
