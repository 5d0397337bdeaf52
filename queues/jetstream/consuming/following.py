"""Follows a stream: all it holds, and then what comes, with a reader of one's own that leaves no trace."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from queues.jetstream.causes import unanswered
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.consuming.inlet import Inlet

PORTION = 1000
"""Messages read at once."""

POLL_SECONDS = 5.0
"""Seconds that one pull waits for a message; a new one is handed on at once."""

FORGOTTEN_AFTER_SECONDS = 60.0
"""Seconds until the server forgets a reader that went away."""


async def follow(
    connection: Connection,
    stream: str,
    subject: str,
    policy: DeliverPolicy = DeliverPolicy.ALL,
    poll_seconds: float = POLL_SECONDS,
    since: float | None = None,
) -> AsyncIterator[tuple[list[Arrival], int]]:
    """Yield messages on `subject` and how many of those stored at first are still to come; some may have gone.

    With the policy BY_START_TIME they begin with those stored at `since` (unix seconds). An empty list comes when there
    was none for a while. Raises: QueueUnavailable if the reader is gone.
    """
    js = connection.nats.jetstream()
    config = ConsumerConfig(
        # Only with a name does the server check the filter against the caller's permissions.
        name=f"follower-{secrets.token_hex(8)}",
        ack_policy=AckPolicy.NONE,
        deliver_policy=policy,
        opt_start_time=None if since is None else datetime.fromtimestamp(since, UTC),
        filter_subject=subject,
        inactive_threshold=FORGOTTEN_AFTER_SECONDS,
        mem_storage=True,
    )
    try:
        reader: Any = await js.add_consumer(stream, config)
    except NatsError as error:
        raise unanswered(f"{stream} cannot be read", error) from error
    inlet, missing = Inlet(connection, stream, reader.name), reader.num_pending or 0
    yield [], missing
    try:
        while True:
            wait_seconds = poll_seconds if missing <= 0 else 0.0
            messages = await inlet.pull(PORTION, wait_seconds, connection.timeout_seconds)
            # There are fewer than announced if some have grown too old meanwhile.
            missing = max(0, missing - len(messages)) if messages else 0
            yield messages, missing
    finally:
        await inlet.close()
