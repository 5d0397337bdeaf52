"""Watches the arms of running experiments, after every job, and stops one that a guardrail speaks against.

One dispatcher does so for the fleet, the one with the first name among those at work: it reads the accounts of all from
the start of the oldest running experiment on. Another that takes over reads the same lines and comes to the same
evidence. Two at once do no harm: an experiment is stopped once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fleet.dispatch.containment import contained
from fleet.dispatch.patience import PAUSE_SECONDS, pause
from fleet.dispatch.state.experiments import Experiments
from fleet.logs import get_logger
from fleet.model.experiment import Experiment, Stage
from fleet.ports import Clock, ExperimentStore
from policies.experiments.checks import stopped
from policies.experiments.evidence import Evidence
from policies.experiments.tally import Tally

log = get_logger(__name__)

LOOK_SECONDS = 2.0
"""Interval between looks whether this dispatcher is the one that watches."""


class RolloutWatch:
    """Watches the running experiments of the fleet while it is this dispatcher's turn."""

    def __init__(
        self, store: ExperimentStore | None, experiments: Experiments, is_first: Callable[[], bool], clock: Clock
    ) -> None:
        self._store = store
        self._experiments = experiments
        self._is_first = is_first
        self._clock = clock
        self._acted: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        if self._store is None:
            return
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._experiments.changed.set())
        try:
            while not stop.is_set():
                await self._watch(self._store, stop)
        finally:
            stopping.cancel()

    def _running(self) -> Mapping[str, Experiment]:
        if not self._is_first():
            return {}
        return {name: each for name, each in self._experiments.in_force.items() if each.stage is Stage.RUNNING}

    async def _watch(self, store: ExperimentStore, stop: asyncio.Event) -> None:
        """Watch those that run now, until others do, it is another dispatcher's turn, or the broker is away."""
        running = self._running()
        reading = asyncio.create_task(self._read(store, running) if running else stop.wait())
        try:
            while self._running().keys() == running.keys() and not (reading.done() or stop.is_set()):
                self._experiments.changed.clear()
                await pause(self._experiments.changed, LOOK_SECONDS)
        finally:
            was_lost = reading.done() and not stop.is_set()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if was_lost:
            await pause(stop, PAUSE_SECONDS)

    async def _read(self, store: ExperimentStore, running: Mapping[str, Experiment]) -> bool:
        """Read the accounts and what is said of answers from the start on; return where that fails."""
        tally, since = Tally(), min(each.started_at for each in running.values())
        for each in running.values():
            tally.begin(each)
        both = (self._lines(store, tally, since), self._verdicts(store, tally, since))
        tasks = [asyncio.create_task(each) for each in both]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def _lines(self, store: ExperimentStore, tally: Tally, since: float) -> None:
        with contained("rollouts_not_watched", outage="rollouts_not_read"):
            async for lines, _ in store.lines(since):
                for line in lines:
                    if (evidence := tally.line(line)) is not None:
                        await self._act(store, evidence)

    async def _verdicts(self, store: ExperimentStore, tally: Tally, since: float) -> None:
        with contained("rollouts_not_watched", outage="rollouts_not_read"):
            async for verdicts, _ in store.verdicts(since):
                for each in verdicts:
                    if (evidence := tally.verdict(each)) is not None:
                        await self._act(store, evidence)

    async def _act(self, store: ExperimentStore, evidence: Evidence) -> None:
        """Stop the experiment if one of its guardrails says so. The first dispatcher to do so is enough."""
        tripped = evidence.tripped()
        if tripped is None or (known := self._experiments.in_force.get(evidence.name)) is None:
            return
        if known.stage is not Stage.RUNNING or evidence.name in self._acted:
            return
        arm, standing = tripped
        why = f"{standing.name} of {arm}: {standing}"
        try:
            await store.change(lambda there: stopped(there[evidence.name], why, self._clock.now()))
            self._acted.add(evidence.name)
            log.warning("rollout_stopped", experiment=evidence.name, why=why)
        except KeyError:
            log.warning("experiment_gone", experiment=evidence.name)
