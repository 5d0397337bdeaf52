"""Replaces a forged message that blocks a result's subject.

The server refuses a second message on a result's subject. The first one is mostly the result, stored before, but need
not be: anyone who may publish to any stream of the same account can have the server's own confirmation stored there,
by naming the subject as the one to reply to. Such a message must not keep the result out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.model.errors import QueueUnavailable
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.wire.letters import Message
from queues.wire.result import result_in
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, RESULTS


async def displacing(connection: Connection, refused: Sequence[Message]) -> list[Message | None]:
    """Return the message to send again for each refused result: None if a result is stored, else one that overwrites.

    Raises: QueueUnavailable, also if nothing is stored yet: another dispatcher's result is on its way through a
    cluster.
    """
    found = await api.last_by_subject(connection, RESULTS, [message.subject for message in refused])
    return [_displacing(message, stored) for message, stored in zip(refused, found, strict=True)]


def _displacing(message: Message, stored: api.StoredMessage | None) -> Message | None:
    if stored is None:
        raise QueueUnavailable("a result is being stored by another")
    if result_in(stored.data) is not None:
        return None
    fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(stored.sequence)}
    return replace(message, headers={**(message.headers or {}), **fence})
