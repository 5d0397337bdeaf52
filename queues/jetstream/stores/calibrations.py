"""The calibrations in force: a NATS key-value bucket with history, and its twin in this process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from nats.errors import Error as NatsError

from fleet.logs import get_logger
from fleet.model.calibration import Calibration, CalibrationKey
from fleet.model.delivery import Stored
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.target import SEMANTIC
from queues.jetstream.api import StoredMessage
from queues.jetstream.causes import unanswered
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.client.login import ANONYMOUS, Login
from queues.jetstream.queue import store
from queues.jetstream.stores.journal import recorded
from queues.jetstream.streams.configs import CALIBRATION_HISTORY
from queues.wire.calibration import decode_calibration, encode_calibration
from queues.wire.letters import Message
from queues.wire.subjects import CALIBRATIONS, EXPECTED_LAST_SUBJECT_SEQUENCE, calibration_subject

Calibrations = Mapping[CalibrationKey, Calibration]

POLL_SECONDS = 5.0
"""Seconds until a dispatcher notices a new calibration. Each poll is one small request; a change is then read."""

ROLLED_BACK = "+rolled-back"
"""The suffix of the version of a calibration that was put in force again."""

PROMISES = calibration_subject(f"{SEMANTIC}.")
"""The first part of the subjects of promises of the semantic cache: a target that no catalogue may have."""

log = get_logger(__name__)

T = TypeVar("T")

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def store_key(key: CalibrationKey) -> str:
    """Return `<target>.<family>.<kind>`, one token each, and the adapter's digest as a fourth where there is one.

    Any other character becomes `=` and two hex digits.
    """
    parts = (key.target, key.family, str(key.kind), key.adapter)
    return ".".join(_UNSAFE.sub(_escape, part) for part in parts if part)


def promises_subject(tenant: str) -> str:
    """Return the subjects of all that the semantic cache promises a tenant."""
    return f"{PROMISES}{_UNSAFE.sub(_escape, tenant)}.*"


def calibration_key(key: str) -> CalibrationKey:
    """Return the key that `store_key` turned into this text.

    Raises: ConfigError if there is none.
    """
    parts = [_ESCAPED.sub(lambda match: chr(int(match[1], 16)), part) for part in key.split(".")]
    found = CalibrationKey.of(parts)
    if found is None:
        rule = "must be <target>.<family>.<kind>, or with .<adapter>, dots inside written as =2E and * as =2A"
        raise ConfigError("key", rule)
    return found


def _escape(match: re.Match[str]) -> str:
    return f"={ord(match[0]):02X}"


class JetStreamCalibrations:
    """Implements `fleet.ports.CalibrationStore` on the bucket `calibrations`, which the topology makes."""

    def __init__(self, connection: Connection, poll_seconds: float = POLL_SECONDS) -> None:
        self._connection = connection
        self._poll_seconds = poll_seconds

    @classmethod
    async def connect(cls, url: str, login: Login = ANONYMOUS) -> JetStreamCalibrations:
        """Return a store on a connection of its own, closed with it.

        Raises: QueueUnavailable if no broker answers.
        """
        return cls(await connect(url, name="fleet-calibrations", login=login))

    async def read_all(self) -> Calibrations:
        latest = recorded(self._connection, CALIBRATIONS, calibration_subject(">"), latest_only=True)
        return _in_force([message async for message in latest])

    async def put(self, calibrations: Sequence[Calibration]) -> None:
        await self._store([_message(each) for each in calibrations])

    async def roll_back(self, key: CalibrationKey) -> Calibration:
        subject = calibration_subject(store_key(key))
        history = [message async for message in recorded(self._connection, CALIBRATIONS, subject)]
        earlier = _one_before(key, history)
        # Somebody may have put another one since, which must not be undone unseen.
        fence = {EXPECTED_LAST_SUBJECT_SEQUENCE: str(history[-1].sequence)}
        await self._store([replace(_message(earlier), headers=fence)])
        return earlier

    async def _store(self, messages: Sequence[Message]) -> None:
        if not all(stored is Stored.NEW for stored in await store(self._connection, messages)):
            raise QueueUnavailable("a calibration was not stored: another one came first, so look again")

    async def watch(self, on_change: Callable[[Calibrations], None]) -> None:
        await read_again(self._connection, self.read_all, on_change, self._poll_seconds)

    async def close(self) -> None:
        await self._connection.close()


async def read_again(
    connection: Connection, read: Callable[[], Awaitable[T]], on_change: Callable[[T], None], poll_seconds: float
) -> None:
    """Pass what `read` reads of the bucket to `on_change`, now and whenever the bucket has changed.

    A plain re-read: nothing to lose across reconnects, restarts and a bucket that is made again.
    """
    seen: object = None
    while True:
        try:
            state = await _state(connection)
            if state != seen:
                on_change(await read())
                seen = state
        except QueueUnavailable as error:
            log.debug("calibrations_not_read", error=str(error))
        await asyncio.sleep(poll_seconds)


async def _state(connection: Connection) -> object:
    """Return a value that changes whenever the bucket does."""
    try:
        info: Any = await connection.nats.jetstream().stream_info(CALIBRATIONS)
    except NatsError as error:
        raise unanswered(CALIBRATIONS, error) from error
    return info.created, info.state.last_seq, info.state.messages


class MemoryCalibrations:
    """Implements `fleet.ports.CalibrationStore` in this process, shared by its holders. It stores the same bytes."""

    def __init__(self) -> None:
        self._history: dict[str, list[StoredMessage]] = {}
        self._changed = asyncio.Event()

    async def read_all(self) -> Calibrations:
        return _in_force(revisions[-1] for revisions in self._history.values())

    async def put(self, calibrations: Sequence[Calibration]) -> None:
        for message in [_message(each) for each in calibrations]:  # all are valid before one is stored
            revisions = self._history.setdefault(message.subject, [])
            revisions.append(StoredMessage(message.subject, message.data, 0.0))
            del revisions[:-CALIBRATION_HISTORY]
        self._changed.set()
        self._changed = asyncio.Event()

    async def roll_back(self, key: CalibrationKey) -> Calibration:
        earlier = _one_before(key, self._history.get(calibration_subject(store_key(key)), ()))
        await self.put([earlier])
        return earlier

    async def watch(self, on_change: Callable[[Calibrations], None]) -> None:
        while True:
            changed = self._changed
            on_change(await self.read_all())
            await changed.wait()

    async def close(self) -> None:
        """Do nothing: the store belongs to the process."""


def _message(calibration: Calibration) -> Message:
    """Return the message for a calibration.

    Raises: ConfigError if a reader would refuse it.
    """
    body = encode_calibration(calibration)
    decode_calibration(body)
    return Message(calibration_subject(store_key(calibration.key)), body)


def _in_force(latest: Iterable[StoredMessage]) -> Calibrations:
    found = (_readable(message) for message in latest)
    return {calibration.key: calibration for calibration in found if calibration is not None}


def _readable(message: StoredMessage) -> Calibration | None:
    if not message.data or message.subject.startswith(PROMISES):
        return None  # a deleted key, or what the semantic cache promises
    try:
        calibration = decode_calibration(message.data)
    except ConfigError as error:
        log.warning("calibration_left_out", subject=message.subject, problem=str(error))
        return None
    if message.subject != calibration_subject(store_key(calibration.key)):
        log.warning("calibration_left_out", subject=message.subject, problem=f"is of {store_key(calibration.key)}")
        return None
    return calibration


def _one_before(key: CalibrationKey, history: Sequence[StoredMessage]) -> Calibration:
    """Return the revision before the one in force or, if that was itself rolled back to, the one before its original.

    Raises: ConfigError if there is none.
    """
    found = [calibration for message in history if (calibration := _readable(message)) is not None]
    versions = [calibration.version for calibration in found]
    in_force = _original(versions[-1]) if versions else ""
    # An original that the history has already forgotten had nothing before it that is still there.
    at = versions.index(in_force) if in_force in versions else 0
    if at == 0:
        raise ConfigError("key", f"{key} has no earlier calibration to go back to")
    earlier = found[at - 1]
    # The part of the promise's delta spent since is spent, whichever threshold is in force.
    return replace(earlier, version=_original(earlier.version) + ROLLED_BACK, looks=found[-1].looks)


def _original(version: str) -> str:
    return version.removesuffix(ROLLED_BACK)
