"""Messages that may crash their reader: identified without being read, with the number of readings that never ended.

The record lies in STARTS beside that of calls, one subject a message, and the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pydantic_core import from_json, to_json

from fleet.interruption import raise_own
from fleet.logs import get_logger
from fleet.model.delivery import SEALED_BEYOND, AnyDelivery, Source, WorkOf
from fleet.model.job import JOB_ID, TENANT, Job
from fleet.model.result import Malformed, Problem, Sealed, Work
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.client.frames import Arrival
from queues.jetstream.consuming.inlet import hand_over_of
from queues.wire.job import INVALID_TENANT, job_message_id, made_up_id
from queues.wire.letters import Message
from queues.wire.subjects import MSG_ID, STARTS, reading_subject
from queues.wire.work import COMPARISON

SCANNED_BYTES = 4096

_ID = re.compile(
    rb"\s*\{(?:\s*\"[a-z_]{1,32}\"\s*:\s*(?:\"[^\"\\]{0,256}\"|[0-9.eE+-]{1,32}|null|true|false)\s*,){0,16}"
    rb"\s*\"id\"\s*:\s*\"([A-Za-z0-9_-]{16,64})\""
)
"""Matches the id of a job or of work if only plain values come before it: never one inside another field."""

UNREAD = Problem("nobody has read it")

log = get_logger(__name__)


def body_of(
    read: Callable[[], Job | Work | Malformed],
    source: Source,
    message: Arrival | Message,
    headers: Mapping[str, str] | None,
    deliveries: int,
) -> Job | Work | Malformed:
    """Return the content of a message if it is safe to `read`, that is, if it has not come back often."""
    if deliveries <= SEALED_BEYOND:
        try:
            return read()
        except BaseException as error:  # a bug in reading one message must not fail its neighbours
            raise_own(error)
            log.exception("message_not_read", source=str(source))
    return _sealed(source, message, headers or {})


def _sealed(source: Source, message: Arrival | Message, headers: Mapping[str, str]) -> Sealed:
    subject, data = message.subject, message.data
    tenant = subject.split(".", 3 if isinstance(source, WorkOf) else 2)[-1]
    if TENANT.fullmatch(tenant) is None:
        return Sealed(made_up_id(data, subject), INVALID_TENANT, source.lane, UNREAD, data, arrived=message)
    message_id = headers.get(MSG_ID, "")
    is_comparison = isinstance(source, WorkOf) and message_id.endswith(f".{COMPARISON}")
    job_id = _id_in(data) or _id_of(message_id, tenant) or made_up_id(data, subject)
    return Sealed(job_id, tenant, source.lane, UNREAD, data, is_comparison, message)


def _id_in(data: bytes) -> str | None:
    found = _ID.match(data[:SCANNED_BYTES])
    return None if found is None else found[1].decode()


def _id_of(message_id: str, tenant: str) -> str | None:
    named = message_id.removeprefix(job_message_id(tenant, "")).partition(".")[0]
    return named if JOB_ID.fullmatch(named) else None


class Readings:
    """The record of readings that have begun."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begun(self, deliveries: Sequence[AnyDelivery]) -> list[int]:
        found = await api.last_by_subject(self._connection, STARTS, map(_subject, deliveries))
        return [0 if message is None else _readings(message.data) for message in found]


def record_of(delivery: AnyDelivery, readings: int) -> Message:
    return Message(_subject(delivery), to_json({"readings": readings}))


def _subject(delivery: AnyDelivery) -> str:
    about = hand_over_of(str(delivery.token))
    return reading_subject(about.stream, about.sequence)


def _readings(data: bytes) -> int:
    try:
        return int(from_json(data)["readings"])
    except (ValueError, TypeError, KeyError):
        return 0
