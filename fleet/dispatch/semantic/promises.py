"""Promises of the semantic cache: kept current, tested with every label, and withdrawn where they no longer hold."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace

from fleet.dispatch.patience import until_done, until_stopped
from fleet.logs import get_logger
from fleet.model.caching import CacheCalibration, DisownedHit, Near
from fleet.model.errors import QueueUnavailable
from fleet.ports import CachePromises, CachePromiseStore
from policies.caching.semantic import loss_of
from policies.confidence.drift import LossTest
from policies.rules.rules import Rules

log = get_logger(__name__)

WITHDRAWN = "+withdrawn"
"""Suffix of the version of a withdrawn promise."""

TaskKey = tuple[str, str]
"""A tenant and a task of it."""


class Promises:
    """Holds the promises in force, by tenant and task, and bets against each with what models say (see `LossTest`)."""

    def __init__(self, store: CachePromiseStore | None, rules: Rules) -> None:
        self._store = store
        self._rules = rules
        self._in_force: dict[TaskKey, CacheCalibration] = {}
        self._withdrawn: dict[TaskKey, CacheCalibration] = {}
        self._tests: dict[TaskKey, tuple[str, LossTest]] = {}
        self._disowned: set[tuple[str, str]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    @property
    def in_force(self) -> Mapping[TaskKey, CacheCalibration]:
        return self._in_force

    def counts(self) -> tuple[int, int]:
        """Return of how many tenants and tasks answers are served, and of how many the promise is withdrawn."""
        withdrawn = sum(each.withdrawn is not None for each in self._in_force.values())
        serving = sum(each.withdrawn is None and each.threshold.value < math.inf for each in self._in_force.values())
        return serving, withdrawn

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the store until `stop` is set; every change counts from the next decision on."""
        if self._store is not None:
            self._stop = stop
            await until_stopped(self._store.watch(self._take), stop, self._telling)

    def _take(self, stored: CachePromises) -> None:
        """Take in what the store holds; a promise withdrawn here stays withdrawn until another replaces it."""
        taken = dict(stored)
        for key, ours in self._withdrawn.items():
            if (there := stored.get(key)) is not None and there.version + WITHDRAWN == ours.version:
                taken[key] = ours
        self._in_force.clear()
        self._in_force.update(taken)
        log.info("cache_promises_in_force", versions=sorted(each.version for each in taken.values()))

    def count(self, tenant: str, task: str, label: Near) -> None:
        """Count a label for or against the promise."""
        promise = self._in_force.get((tenant, task))
        if promise is not None and promise.encoder == label.encoder and label.propensity is not None:
            self._count(promise, loss_of(label, promise), label.propensity)

    def disowned(self, tenant: str, hit: DisownedHit) -> None:
        """Count a hit that a user calls bad against the promise under which it was served, however often it is told.

        All that users ever said is told again whenever the broker was away, and to a dispatcher that starts.
        """
        promise = self._in_force.get((tenant, hit.task))
        if promise is None or hit.served_at < promise.looks.at or (tenant, hit.job_id) in self._disowned:
            return
        self._disowned.add((tenant, hit.job_id))
        self._count(promise, 1.0, self._rules.cache.semantic.explored)

    def _count(self, promise: CacheCalibration, loss: float, propensity: float) -> None:
        key, risk = (promise.tenant, promise.task), promise.threshold.risk
        if promise.withdrawn is not None or risk is None:
            return
        version, test = self._tests.get(key, ("", LossTest(risk)))
        if version != promise.version:
            test = LossTest(risk)
        test = test.after(loss, min(1.0, self._rules.cache.semantic.explored / propensity))
        self._tests[key] = (promise.version, test)
        if test.alarm():
            self._withdraw(promise, f"cached answers are wrong more often than promised, over {test.n} comparisons")

    def _withdraw(self, promise: CacheCalibration, why: str) -> None:
        """Withdraw a promise here at once; every other dispatcher learns of it through the store."""
        log.warning(
            "cache_promise_withdrawn", tenant=promise.tenant, task=promise.task, version=promise.version, why=why
        )
        ours = replace(promise, withdrawn=why, version=promise.version + WITHDRAWN)
        self._withdrawn[promise.tenant, promise.task] = self._in_force[promise.tenant, promise.task] = ours
        if self._store is not None:
            task = asyncio.get_running_loop().create_task(self._tell(self._store, ours))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, store: CachePromiseStore, ours: CacheCalibration) -> None:
        """Tell the others, however long the broker is away: what is not stored is back in force after a restart."""

        async def put() -> None:
            there = (await store.read_all()).get((ours.tenant, ours.task))
            # A new promise may have been tested since, which is what a withdrawal asks for: do not undo it.
            if there is None or there.version + WITHDRAWN == ours.version:
                await store.put([ours])

        def complain(error: QueueUnavailable) -> None:
            log.warning("cache_withdrawal_not_stored", tenant=ours.tenant, task=ours.task, error=str(error))

        await until_done(put, self._stop, complain)
