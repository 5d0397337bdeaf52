"""The same queue built two ways, for suites that must pass on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

from fleet.model.delivery import Stored
from fleet.ports import (
    AdapterStore,
    AllBatches,
    BatchStore,
    CachePromiseStore,
    CacheStore,
    CalibrationStore,
    Cancels,
    DeadLetters,
    EventOutbox,
    ExperimentStore,
    FileStore,
    JobDesk,
    JobQueue,
    Journal,
    KeyStore,
    LedgerFeed,
    TurnStore,
)
from fleet.webhooks.ports import EndpointStore, EventFeed
from queues.batches import EveryBatch, JetStreamShelf, MemoryShelf, Shelf, TenantBatches, TenantFiles
from queues.batches.shelf import rewrite
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.desk import JetStreamDesk
from queues.jetstream.queue import JetStreamQueue, store
from queues.jetstream.stores.adapters import JetStreamAdapters, MemoryAdapters
from queues.jetstream.stores.cache import JetStreamCache, MemoryCache
from queues.jetstream.stores.calibrations import JetStreamCalibrations, MemoryCalibrations
from queues.jetstream.stores.cancels import JetStreamCancels, MemoryCancels
from queues.jetstream.stores.dead import JetStreamDeadLetters, MemoryDeadLetters
from queues.jetstream.stores.experiments import JetStreamExperiments, MemoryExperiments
from queues.jetstream.stores.journal import JetStreamJournal, MemoryJournal
from queues.jetstream.stores.keys import JetStreamKeys, MemoryKeys
from queues.jetstream.stores.ledger import JetStreamLedger, MemoryLedger
from queues.jetstream.stores.promises import JetStreamCachePromises, MemoryCachePromises
from queues.jetstream.stores.turns import JetStreamTurns, MemoryTurns
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.jetstream.webhooks.endpoints import JetStreamEndpoints
from queues.jetstream.webhooks.events import JetStreamEvents, JetStreamOutbox
from queues.memory import MemoryBroker, MemoryDesk, MemoryQueue
from queues.memory.webhooks import MemoryEndpoints, MemoryEvents
from queues.wire.letters import Message

STREAMS = (
    "JOBS",
    "WORK",
    "RESULTS",
    "LEDGER",
    "DEAD",
    "FEEDBACK",
    "STARTS",
    "CANCELS",
    "CONTENT",
    "EVENTS",
    "OBJ_results-large",
    "KV_calibrations",
    "KV_keys",
    "FILES",
    "KV_batches",
    "KV_cache",
    "KV_experiments",
    "KV_adapters",
    "OBJ_adapters",
    "KV_turns",
    "KV_provider_batches",
    "KV_responses",
    "KV_webhooks",
)


class Rig(Protocol):
    """A broker with nothing in it, and the access of a publisher and two dispatchers to it."""

    queue: JobQueue
    rival: JobQueue

    def desk(self, tenant: str) -> JobDesk: ...

    def journal(self) -> Journal: ...

    def ledger_feed(self) -> LedgerFeed: ...

    def calibrations(self) -> CalibrationStore:
        """Return, at each call, another holder of the same calibrations."""

    def cache_promises(self) -> CachePromiseStore:
        """Return, at each call, another holder of the same promises of the semantic cache."""

    def cache(self) -> CacheStore:
        """Return, at each call, another holder of the same cache."""

    def experiments(self) -> ExperimentStore:
        """Return, at each call, another holder of the same experiments."""

    def adapters(self) -> AdapterStore:
        """Return, at each call, another holder of the same adapters."""

    def turns(self) -> TurnStore:
        """Return, at each call, another holder of the same turns."""

    def keys(self) -> KeyStore:
        """Return, at each call, another holder of the same keys."""

    def cancels(self) -> Cancels: ...

    def dead_letters(self) -> DeadLetters: ...

    def files(self, tenant: str) -> FileStore: ...

    def batches(self, tenant: str) -> BatchStore: ...

    def all_batches(self) -> AllBatches: ...

    async def write_entry(self, key: str, body: bytes) -> None:
        """Write an entry of the bucket `batches` as a stranger would."""

    def endpoints(self) -> EndpointStore:
        """Return, at each call, another holder of the same webhook endpoints."""

    def outbox(self) -> EventOutbox: ...

    def events(self) -> EventFeed:
        """Return, at each call, another feed of what the outbox holds."""

    async def inject(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Publish bytes as a stranger would."""

    async def stored(self, stream: str) -> Sequence[bytes]:
        """Return the bodies in RESULTS, LEDGER, DEAD or FEEDBACK."""


class _OnShelf:
    """Files and batches, which both brokers keep in the same way."""

    shelf: Shelf

    def files(self, tenant: str) -> TenantFiles:
        return TenantFiles(self.shelf, tenant)

    def batches(self, tenant: str) -> TenantBatches:
        return TenantBatches(self.shelf, tenant, poll_seconds=0.02)

    def all_batches(self) -> EveryBatch:
        return EveryBatch(self.shelf)

    async def write_entry(self, key: str, body: bytes) -> None:
        assert await rewrite(self.shelf, key, lambda _: body)


class MemoryRig(_OnShelf):
    def __init__(self, ack_wait_seconds: float) -> None:
        self.broker = MemoryBroker(ack_wait_seconds=ack_wait_seconds)
        self.shelf = MemoryShelf(self.broker)
        self.queue = MemoryQueue(self.broker)
        self.rival = MemoryQueue(self.broker)
        self._calibrations = MemoryCalibrations()
        self._keys = MemoryKeys()
        self._cache = MemoryCache()
        self._cache_promises = MemoryCachePromises()
        self._experiments = MemoryExperiments(self.broker)
        self._adapters = MemoryAdapters()
        self._turns = MemoryTurns()
        self._endpoints = MemoryEndpoints()
        self._events = MemoryEvents(lease_seconds=ack_wait_seconds)

    def desk(self, tenant: str) -> MemoryDesk:
        return MemoryDesk(self.broker, tenant)

    def journal(self) -> MemoryJournal:
        return MemoryJournal(self.broker)

    def ledger_feed(self) -> MemoryLedger:
        return MemoryLedger(self.broker)

    def calibrations(self) -> MemoryCalibrations:
        return self._calibrations

    def cache_promises(self) -> MemoryCachePromises:
        return self._cache_promises

    def cache(self) -> MemoryCache:
        return self._cache

    def experiments(self) -> MemoryExperiments:
        return self._experiments

    def adapters(self) -> MemoryAdapters:
        return self._adapters

    def turns(self) -> MemoryTurns:
        return self._turns

    def keys(self) -> MemoryKeys:
        return self._keys

    def cancels(self) -> MemoryCancels:
        return MemoryCancels(self.broker)

    def endpoints(self) -> MemoryEndpoints:
        return self._endpoints

    def outbox(self) -> MemoryEvents:
        return self._events

    def events(self) -> MemoryEvents:
        return self._events

    def dead_letters(self) -> MemoryDeadLetters:
        return MemoryDeadLetters(self.broker)

    async def inject(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        assert self.broker.store(Message(subject, body, headers)) is Stored.NEW

    async def stored(self, stream: str) -> Sequence[bytes]:
        return [message.data for message in self.broker.stored(stream.lower())]


class JetStreamRig(_OnShelf):
    def __init__(self, connection: Connection, rival: Connection, ack_wait_seconds: float) -> None:
        self.connection = connection
        self.shelf = JetStreamShelf(connection)
        self._ack_wait_seconds = ack_wait_seconds
        self.queue = JetStreamQueue(connection, ack_wait_seconds)
        self.rival = JetStreamQueue(rival, ack_wait_seconds)

    def all_batches(self) -> EveryBatch:
        return EveryBatch(JetStreamShelf(self.connection, by_leader=True))

    def desk(self, tenant: str) -> JetStreamDesk:
        return JetStreamDesk(self.connection, tenant)

    def journal(self) -> JetStreamJournal:
        return JetStreamJournal(self.connection)

    def ledger_feed(self) -> JetStreamLedger:
        return JetStreamLedger(self.connection)

    def calibrations(self) -> JetStreamCalibrations:
        return JetStreamCalibrations(self.connection, poll_seconds=0.02)

    def cache_promises(self) -> JetStreamCachePromises:
        return JetStreamCachePromises(self.connection, poll_seconds=0.02)

    def cache(self) -> JetStreamCache:
        return JetStreamCache(self.connection, poll_seconds=0.05)

    def experiments(self) -> JetStreamExperiments:
        return JetStreamExperiments(self.connection, poll_seconds=0.05)

    def adapters(self) -> JetStreamAdapters:
        return JetStreamAdapters(self.connection, poll_seconds=0.05)

    def turns(self) -> JetStreamTurns:
        return JetStreamTurns(self.connection, poll_seconds=0.05)

    def keys(self) -> JetStreamKeys:
        return JetStreamKeys(self.connection, poll_seconds=0.02)

    def cancels(self) -> JetStreamCancels:
        return JetStreamCancels(self.connection)

    def endpoints(self) -> JetStreamEndpoints:
        return JetStreamEndpoints(self.connection)

    def outbox(self) -> JetStreamOutbox:
        return JetStreamOutbox(self.connection)

    def events(self) -> JetStreamEvents:
        return JetStreamEvents(self.connection, self._ack_wait_seconds)

    def dead_letters(self) -> JetStreamDeadLetters:
        return JetStreamDeadLetters(self.connection)

    async def inject(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        assert await store(self.connection, [Message(subject, body, headers)]) == [Stored.NEW]

    async def stored(self, stream: str) -> Sequence[bytes]:
        js = self.connection.nats.jetstream()
        state = (await js.stream_info(stream)).state
        return [(await js.get_msg(stream, seq)).data for seq in range(state.first_seq, state.last_seq + 1)]


async def jetstream_rig(stack: AsyncExitStack, url: str, ack_wait_seconds: float) -> JetStreamRig:
    """Return a rig on the server at `url`, whose streams are removed and made again."""
    connections = []
    for name in ("rig", "rival"):
        connection = await connect(url, name=name)
        stack.push_async_callback(connection.close)
        connections.append(connection)
    js = connections[0].nats.jetstream()
    existing = {info.config.name for info in await js.streams_info()}
    for stream in existing.intersection(STREAMS):
        await js.delete_stream(stream)
    await apply(js, TopologySpec())
    return JetStreamRig(connections[0], connections[1], ack_wait_seconds)
