"""The consumers of the streams: one for each source that jobs and work are taken from."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeGuard

from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError, NotFoundError

from fleet.model.delivery import JobsOf, Source
from fleet.model.errors import QueueUnavailable
from queues.jetstream.causes import refused, unanswered
from queues.jetstream.codes import Code
from queues.wire.subjects import consumer_of, filter_of, stream_of

IDLE_CONSUMER_SECONDS = 60.0
"""Seconds until a tenant's consumer that nobody pulls from goes away. One with deliveries in hand stays."""


class TooManyConsumers(QueueUnavailable):
    """Raised if the server accepts no further consumer of the stream; its default is 1,000 each."""


async def drop_consumer(js: Any, source: Source) -> None:
    """Remove the consumer of the source, if there is one.

    Raises: NatsError if the server refuses.
    """
    with suppress(NotFoundError):
        await js.consumer_info(stream_of(source), consumer_of(source))  # needs no right to delete
        await js.delete_consumer(stream_of(source), consumer_of(source))


async def ensure_consumer(js: Any, source: Source, ack_wait_seconds: float) -> None:
    """Create the durable consumer of the source, or bring it up to date.

    Raises: QueueUnavailable if the broker does not answer or refuses.
    """
    name = consumer_of(source)
    config = ConsumerConfig(
        # Only with both names does the server check the filter against the caller's permissions.
        name=name,
        durable_name=name,
        filter_subject=filter_of(source),
        ack_wait=ack_wait_seconds,
        # Giving up on a job is the dispatcher's decision; the server would leave it stored and invisible.
        max_deliver=-1,
        # The dispatcher bounds what it takes; a bound here makes a pull wait for its whole time.
        max_ack_pending=-1,
        inactive_threshold=IDLE_CONSUMER_SECONDS if of_a_tenant(source) else None,
        # Tenants' consumers come and go, four times as fast in memory. A server's restart forgets them, but no message.
        mem_storage=True if of_a_tenant(source) else None,
    )
    try:
        await _add_consumer(js, source, config)
    except APIError as error:
        what = f"consumer {name} of {stream_of(source)}"
        if error.err_code == Code.TOO_MANY_CONSUMERS:
            raise TooManyConsumers(f"{what}: {error}") from error
        raise refused(what, error.err_code, error.description) from error
    except NatsError as error:
        raise unanswered(f"consumer {name} of {stream_of(source)}", error) from error


async def _add_consumer(js: Any, source: Source, config: ConsumerConfig) -> None:
    """Create the consumer. An older dispatcher's is used if it is the tenant's, and removed if lane-wide."""
    try:
        await js.add_consumer(stream_of(source), config)
    except APIError as error:
        if not of_a_tenant(source) or error.err_code not in (Code.FILTERS_OVERLAP, Code.CONSUMER_NOT_CHANGEABLE):
            raise
        if error.err_code == Code.FILTERS_OVERLAP:
            await drop_consumer(js, JobsOf(source.lane))
        else:
            config = config.evolve(mem_storage=None)
        await js.add_consumer(stream_of(source), config)


def of_a_tenant(source: Source) -> TypeGuard[JobsOf]:
    """Return whether the source is the queue of one tenant in a lane."""
    return isinstance(source, JobsOf) and source.tenant is not None
