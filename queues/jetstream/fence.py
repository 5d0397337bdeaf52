"""Replaces a forged message that blocks a result's subject.

The server refuses a second message on a result's subject. The first one is mostly the result, stored before, but need
not be: anyone who may publish to any stream of the same account can have the server's own confirmation stored there,
by naming the subject as the one to reply to. Such a message must not keep the result out.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from fleet.model.errors import QueueUnavailable
from queues.jetstream.client.connection import Connection, status_of
from queues.jetstream.client.frames import Arrival
from queues.jetstream.stores.cells import NO_MESSAGE
from queues.wire.letters import Message
from queues.wire.result import result_in
from queues.wire.subjects import EXPECTED_LAST_SUBJECT_SEQUENCE, RESULTS


async def displacing(connection: Connection, refused: Sequence[Message]) -> list[Message | None]:
    """Return the message to send again for each refused result: None if a result is stored, else one that overwrites.

    Raises: QueueUnavailable, also if nothing is stored yet: another dispatcher's result is on its way through a
    cluster.
    """
    asked = [
        Message(f"$JS.API.STREAM.MSG.GET.{RESULTS}", to_json({"last_by_subj": message.subject})) for message in refused
    ]
    replies = await connection.exchange(asked)
    return [_displacing(message, _stored(reply)) for message, reply in zip(refused, replies, strict=True)]


def _displacing(message: Message, stored: dict[str, Any]) -> Message | None:
    if result_in(b64decode(stored.get("data", ""))) is not None:
        return None
    fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(stored["seq"])}
    return replace(message, headers={**(message.headers or {}), **fence})


def _stored(reply: Arrival) -> dict[str, Any]:
    if status_of(reply) is not None:
        raise QueueUnavailable("nobody keeps the results")
    answer = from_json(reply.data)
    if "error" in answer:
        missing = answer["error"].get("err_code") == NO_MESSAGE
        why = "a result is being stored by another" if missing else f"JetStream: {answer['error'].get('description')}"
        raise QueueUnavailable(why)
    message: dict[str, Any] = answer["message"]
    return message
