"""The seams of the fleet: small Protocols, declared by the code that uses them.

The queue and the desk have a real and an in-process implementation each, and both pass the same contract suite.
"""

from __future__ import annotations

from fleet.ports.batches import AllBatches, BatchStore, FileStore
from fleet.ports.caching import CachePromises, CachePromiseStore, NearestQuestions, SameAnswerVerifier
from fleet.ports.dispatching import (
    Backend,
    BatchedCalls,
    Capacities,
    Clock,
    ColdStartBook,
    LoadBook,
    Recorder,
    SpendBook,
    Tracer,
)
from fleet.ports.jobs import Cancels, EventOutbox, JobDesk, JobQueue
from fleet.ports.records import DeadLetters, Journal, LedgerFeed
from fleet.ports.stores import (
    AdapterStore,
    CacheStore,
    CalibrationStore,
    Disowned,
    ExperimentStore,
    KeyStore,
    ResponseStore,
    TurnStore,
)

__all__ = [
    "AdapterStore",
    "AllBatches",
    "Backend",
    "BatchStore",
    "BatchedCalls",
    "CachePromiseStore",
    "CachePromises",
    "CacheStore",
    "CalibrationStore",
    "Cancels",
    "Capacities",
    "Clock",
    "ColdStartBook",
    "DeadLetters",
    "Disowned",
    "EventOutbox",
    "ExperimentStore",
    "FileStore",
    "JobDesk",
    "JobQueue",
    "Journal",
    "KeyStore",
    "LedgerFeed",
    "LoadBook",
    "NearestQuestions",
    "Recorder",
    "ResponseStore",
    "SameAnswerVerifier",
    "SpendBook",
    "Tracer",
    "TurnStore",
]
