"""The composition root: the only place that pairs adapters with ports.

Ray is loaded only where a self-hosted target or the local fleet is asked for; a publisher, a status query and a
dispatcher with cloud targets alone never need it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.dispatch.dispatcher import Dispatcher
from fleet.model.errors import BackendUnavailable
from fleet.model.target import Target
from fleet.ports import Backend, JobDesk, JobQueue
from fleet.settings.documents import load_rules
from fleet.settings.environment import LOCAL_NATS_URL, Settings, load
from policies.rules import Rules
from queues.desk import JetStreamDesk
from queues.jetstream import JetStreamQueue

if TYPE_CHECKING:
    from deployments.cluster import LocalCluster
    from queues.server import EmbeddedServer

NO_KEYS = "no cloud keys: escalation stays inside the fleet (set OPENAI_API_KEY, ANTHROPIC_API_KEY or GROQ_API_KEY)"


class SystemClock:
    """The real clock and the real dice."""

    def now(self) -> float:
        return time.time()

    def jitter(self) -> float:
        return random.random()


@dataclass(frozen=True, slots=True)
class TopologyChange:
    stream: str
    change: str


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """`replicas` is None for targets outside the fleet; `queued` is work waiting or in flight."""

    name: str
    provider: str
    state: str
    replicas: int | None
    queued: int
    message: str | None = None


@dataclass(frozen=True, slots=True)
class FleetStatus:
    nats_url: str
    reachable: bool
    streams: Mapping[str, int]
    targets: tuple[TargetStatus, ...]


def rules_of(settings: Settings) -> Rules:
    """The rules and the catalogue these settings ask for. Raises `ConfigError`."""
    return load_rules(settings.rules_path, settings.catalogue_path, settings.profile)
