"""Dispatchers' reports of their load: the NATS key-value bucket `load`, and its twin in this process.

A report is JSON under the dispatcher's id. Nobody deletes it: it goes when it is older than the bucket keeps it.
"""

from __future__ import annotations

import logging
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from fleet.model.delivery import WorkOf
from fleet.model.errors import QueueUnavailable
from fleet.model.job import Lane
from fleet.model.scaling import LaneLoad, Load
from queues.jetstream.client.connection import Connection, status_of
from queues.jetstream.topology import LOAD_MAX_AGE_SECONDS
from queues.wire.letters import Message
from queues.wire.subjects import LOAD, load_subject

_log = logging.getLogger(__name__)

Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _LaneRecord(BaseModel):
    """One entry of `Load.lanes`; `slack_seconds` is below 0 if jobs come too late."""

    target: str
    lane: Lane
    jobs: Amount
    tokens_per_job: Amount
    slack_seconds: Number


class _Record(BaseModel):
    """`Load` on the wire. Unknown fields are a newer dispatcher's."""

    model_config = ConfigDict(extra="ignore")

    dispatcher: str
    at: Number
    lanes: list[_LaneRecord]
    tokens_done: dict[str, Amount]
    tokens_running: dict[str, Amount]
    tokens_missed: dict[str, Amount]
    cpu_share: Amount
    serves: frozenset[str] | None = None
    own_key_only: frozenset[str] = frozenset()


def encode_load(load: Load) -> bytes:
    lanes = [{"target": work.target, "lane": work.lane, **asdict(each)} for work, each in load.lanes.items()]
    by_target = {name: dict(getattr(load, name)) for name in ("tokens_done", "tokens_running", "tokens_missed")}
    record = {"dispatcher": load.dispatcher, "at": load.at, "lanes": lanes, **by_target, "cpu_share": load.cpu_share}
    if load.serves is not None:
        record |= {"serves": sorted(load.serves), "own_key_only": sorted(load.own_key_only)}
    return to_json(record)


def decode_load(body: bytes) -> Load:
    """Return the report in these bytes.

    Raises: ValueError if they hold none.
    """
    record = _Record.model_validate_json(body)
    lanes = {
        WorkOf(each.target, each.lane): LaneLoad(each.jobs, each.tokens_per_job, each.slack_seconds)
        for each in record.lanes
    }
    return Load(
        record.dispatcher,
        record.at,
        lanes,
        tokens_done=record.tokens_done,
        tokens_running=record.tokens_running,
        tokens_missed=record.tokens_missed,
        cpu_share=record.cpu_share,
        serves=record.serves,
        own_key_only=record.own_key_only,
    )


class JetStreamLoads:
    """Implements `fleet.ports.LoadBook` on the bucket `load`, made by `queues.jetstream.topology`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def report(self, load: Load) -> None:
        await self._ask([Message(load_subject(load.dispatcher), encode_load(load))])

    async def read(self) -> Sequence[Load]:
        wanted = to_json({"subjects_filter": load_subject(">")})
        [info] = await self._ask([Message(f"$JS.API.STREAM.INFO.{LOAD}", wanted)])
        subjects = sorted(info["state"].get("subjects") or {})
        # Not a consumer: scaling reads every second, and a consumer would have to be made and removed each time.
        get = f"$JS.API.STREAM.MSG.GET.{LOAD}"
        asked = [Message(get, to_json({"last_by_subj": subject})) for subject in subjects]
        replies = [_answer(reply) for reply in await self._connection.exchange(asked)]
        # A report that is gone meanwhile was too old.
        found = [reply["message"] for reply in replies if "error" not in reply]
        return _readable((each["subject"], b64decode(each.get("data", ""))) for each in found)

    async def _ask(self, messages: Sequence[Message]) -> Sequence[dict[str, Any]]:
        answers = [_answer(reply) for reply in await self._connection.exchange(messages)]
        for answer in answers:
            if "error" in answer:
                raise QueueUnavailable(f"JetStream: {answer['error'].get('description')}")
        return answers


def _answer(reply: Any) -> dict[str, Any]:
    if status_of(reply) is not None:
        raise QueueUnavailable("nobody keeps the bucket load")
    answer: dict[str, Any] = from_json(reply.data)
    return answer


class MemoryLoads:
    """Implements `fleet.ports.LoadBook` in this process, shared by its holders. It keeps the same bytes for as long."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._stored: dict[str, tuple[float, bytes]] = {}

    async def report(self, load: Load) -> None:
        self.store(load_subject(load.dispatcher), encode_load(load))

    def store(self, subject: str, body: bytes) -> None:
        """Store bytes, as a stranger could."""
        self._stored[subject] = (self._now(), body)

    async def read(self) -> Sequence[Load]:
        oldest = self._now() - LOAD_MAX_AGE_SECONDS
        self._stored = {subject: each for subject, each in self._stored.items() if each[0] > oldest}
        return _readable((subject, body) for subject, (_, body) in sorted(self._stored.items()))


def _readable(stored: Iterable[tuple[str, bytes]]) -> list[Load]:
    """Return the readable reports; the rest is left out and logged."""
    loads = []
    for subject, body in stored:
        try:
            load = decode_load(body)
        except ValueError as error:
            _log.warning("%s: report left out: %s", subject, error)
            continue
        if load_subject(load.dispatcher) == subject:
            loads.append(load)
        else:
            _log.warning("%s: report left out: it is one of %s", subject, load.dispatcher)
    return loads
