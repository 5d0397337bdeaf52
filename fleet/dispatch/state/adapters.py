"""The adapters in force: which one answers each call, and which are left alone as they could not be loaded.

Nothing here is needed to answer a job. Where the adapters are not known, or one cannot be used, the base answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fleet.dispatch.containment import contained
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.patience import until_stopped
from fleet.dispatch.state.state import FleetState
from fleet.logs import get_logger
from fleet.model.adapter import Alias, RegisteredAdapter
from fleet.model.attempt import Answer, Failure, FailureKind, Outcome
from fleet.model.experiment import Assignment
from fleet.model.target import Target
from fleet.ports import AdapterStore
from policies.adapters.routing import digest_for, indexed
from policies.confidence.probes import last_answer
from policies.resilience.retry import failed_adapter
from policies.rules.rules import Rules

PAUSE_SECONDS = 60.0
"""Time for which no call asks for an adapter that could not be loaded; each that does costs its job a second call."""

log = get_logger(__name__)


class Adapters:
    """Follows the registered adapters, and chooses among them for the calls of a dispatcher."""

    def __init__(
        self, store: AdapterStore | None, state: FleetState, rules_of: Callable[[Assignment | None], Rules]
    ) -> None:
        """Make the keeper; `rules_of` gives the rules of an arm. Without a store, the base answers all."""
        self._store = store
        self._state = state
        self._rules_of = rules_of
        self._stable: Mapping[str, str] = {}
        self._paused_until: dict[str, float] = {}
        self._begun: set[asyncio.Task[None]] = set()
        self.loaded = asyncio.Event()
        """Set once the store has told what there is, or where there is none."""
        if store is None:
            self.loaded.set()

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the store until `stop` is set; every change counts from the next call on."""
        if self._store is not None:
            await until_stopped(self._store.watch(self._take), stop, self._begun)

    def _take(self, adapters: Mapping[str, RegisteredAdapter]) -> None:
        self._state.adapters = indexed(adapters.values())
        stable = {name: each.aliases[Alias.STABLE] for name, each in adapters.items() if Alias.STABLE in each.aliases}
        if stable != self._stable:
            log.info("adapters_in_force", adapters={name: digest[:12] for name, digest in stable.items()})
        self._stable = stable
        self.loaded.set()

    def of_call(self, target: Target, inflight: InFlightJob, now: float) -> str | None:
        """Return the digest that the job's call on the target asks for; None: the base answers.

        A second look asks whoever gave the answer, and so does a comparison on one target. A job that an adapter has
        failed goes on without any. A bug here costs no answer, and no neighbour in the micro-batch.
        """
        with contained("adapter_not_chosen", inflight.delivery):
            return self._chosen(target, inflight, now)
        return None

    def _chosen(self, target: Target, inflight: InFlightJob, now: float) -> str | None:
        if inflight.attempts:
            if inflight.probe is not None:
                asked = last_answer(inflight.attempts)
                return asked.adapter if asked is not None and asked.target == target.name else None
            if inflight.shadow is not None:
                kept = inflight.attempts[inflight.shadow.attempt - 1]
                if kept.target == target.name:
                    return kept.adapter
            if any(failed_adapter(each) for each in inflight.attempts):
                return None
        job, on_trial = inflight.job, self._rules_of(inflight.assigned).adapter
        digest = digest_for(target, job.tenant, job.task, self._state.adapters, on_trial)
        return None if digest is None or now < self._paused_until.get(digest, 0.0) else digest

    def observe(self, inflight: InFlightJob, outcome: Outcome, target: Target, now: float) -> None:
        """Learn from an outcome whether the target can use the adapter; log it when it first cannot."""
        digest = inflight.adapter
        if digest is None:
            return
        if isinstance(outcome, Answer):
            self._paused_until.pop(digest, None)
        elif isinstance(outcome, Failure) and outcome.kind is FailureKind.ADAPTER:
            if digest not in self._paused_until:
                log.warning("adapter_not_used", digest=digest, target=target.name, why=outcome.detail)
            self._paused_until[digest] = now + PAUSE_SECONDS
