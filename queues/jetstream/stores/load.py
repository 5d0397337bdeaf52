"""Dispatchers' reports of their load: the NATS key-value bucket `load`, and its twin in this process.

A report is JSON under the dispatcher's id. Nobody deletes it: it goes when it is older than the bucket keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from fleet.logs import get_logger
from fleet.model.delivery import WorkOf
from fleet.model.job import Lane
from fleet.model.scaling import Capacity, ColdStart, LaneLoad, Load, ProcessName
from queues.jetstream import api
from queues.jetstream.client.connection import Connection
from queues.jetstream.streams.configs import LOAD_MAX_AGE_SECONDS
from queues.wire.letters import Message
from queues.wire.subjects import LOAD, load_subject

log = get_logger(__name__)

Number = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _LaneRecord(BaseModel):
    """An entry of `Load.lanes`; `slack_seconds` is below 0 if jobs come too late."""

    target: str
    lane: Lane
    jobs: Amount
    tokens_per_job: Amount
    slack_seconds: Number


class _DirectRecord(BaseModel):
    """An entry of `Load.direct`."""

    target: str
    lane: Lane
    jobs: Annotated[int, Field(ge=0)]


class _ProcessRecord(BaseModel):
    """`Load.process`."""

    host: str
    pid: int
    started_at: Number


class _ColdStartRecord(BaseModel):
    """`Capacity.cold_start`."""

    seconds: Amount
    seen: Annotated[int, Field(ge=0)]


class _ReplicasRecord(BaseModel):
    """An entry of `Load.replicas`."""

    running: Annotated[int, Field(ge=0)]
    starting: Annotated[int, Field(ge=0)] = 0
    starting_at: Number | None = None
    held: bool = False
    cold_start: _ColdStartRecord | None = None

    def value(self) -> Capacity:
        learned = None if self.cold_start is None else ColdStart(self.cold_start.seconds, self.cold_start.seen)
        return Capacity(self.running, self.starting, self.starting_at, self.held, learned)


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
    direct: list[_DirectRecord] = Field(default_factory=list)
    shut: dict[str, Amount] = Field(default_factory=dict)
    process: _ProcessRecord | None = None
    held: Annotated[int, Field(ge=0)] = 0
    replicas: dict[str, _ReplicasRecord] = Field(default_factory=dict)
    replicas_at: Number | None = None


def encode_load(load: Load) -> bytes:
    lanes = [{"target": work.target, "lane": work.lane, **asdict(each)} for work, each in load.lanes.items()]
    by_target = {name: dict(getattr(load, name)) for name in ("tokens_done", "tokens_running", "tokens_missed")}
    record = {"dispatcher": load.dispatcher, "at": load.at, "lanes": lanes, **by_target, "cpu_share": load.cpu_share}
    if load.serves is not None:
        record |= {"serves": sorted(load.serves), "own_key_only": sorted(load.own_key_only)}
    if load.direct:
        record["direct"] = [{"target": w.target, "lane": w.lane, "jobs": jobs} for w, jobs in load.direct.items()]
    if load.shut:
        record["shut"] = dict(load.shut)
    if load.process is not None:
        record |= {"process": asdict(load.process), "held": load.held}
    if load.replicas_at is not None:
        replicas = {name: asdict(each) for name, each in load.replicas.items()}
        record |= {"replicas": replicas, "replicas_at": load.replicas_at}
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
        direct={WorkOf(each.target, each.lane): each.jobs for each in record.direct},
        shut=record.shut,
        process=None if record.process is None else ProcessName(**record.process.model_dump()),
        held=record.held,
        replicas={name: each.value() for name, each in record.replicas.items()},
        replicas_at=record.replicas_at,
    )


class JetStreamLoads:
    """Implements `fleet.ports.LoadBook` on the bucket `load`, made by `queues.jetstream.streams.topology`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def report(self, load: Load) -> None:
        await api.publish(self._connection, Message(load_subject(load.dispatcher), encode_load(load)))

    async def read(self) -> Sequence[Load]:
        info = await api.stream_info(self._connection, LOAD, load_subject(">"))
        # Not a consumer: scaling reads every second, and a consumer would have to be made and removed each time.
        found = await api.last_by_subject(self._connection, LOAD, sorted(info.subjects))
        # A report that is gone meanwhile was too old.
        return _readable((message.subject, message.data) for message in found if message is not None)


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
            log.warning("load_report_left_out", subject=subject, problem=str(error))
            continue
        if load_subject(load.dispatcher) == subject:
            loads.append(load)
        else:
            log.warning("load_report_left_out", subject=subject, problem=f"is of {load.dispatcher}")
    return loads
