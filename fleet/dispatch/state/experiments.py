"""The experiments in force: which arm each job is in, and what that changes.

Nothing here is needed to answer a job. Where the experiments are not known, or one cannot be used here, jobs go on as
control: by the rules, and with no arm on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.patience import until_stopped
from fleet.logs import get_logger
from fleet.model.errors import ConfigError
from fleet.model.experiment import Arm, Assignment, Experiment, Stage
from fleet.ports import ExperimentStore
from policies.experiments.arms import asked_in
from policies.experiments.assignment import assigned
from policies.experiments.checks import check
from policies.rules.rules import Rules

log = get_logger(__name__)

RulesOfArm = Callable[[Experiment, Arm], Rules]
"""Returns the rules of an arm. Raises: ConfigError if it cannot be used with the rules in force."""


@dataclass(frozen=True, slots=True)
class Trials:
    """Where a dispatcher finds experiments, and how it makes an arm's rules."""

    store: ExperimentStore
    rules_of: RulesOfArm


class Experiments:
    """Holds the experiments of the fleet that can be used here."""

    def __init__(self, trials: Trials | None, rules: Rules) -> None:
        self._trials = trials
        self._rules = rules
        self._of_arm: dict[tuple[str, str], tuple[Arm, Rules]] = {}
        self._begun: set[asyncio.Task[None]] = set()
        self.in_force: Mapping[str, Experiment] = {}
        """Those that are running or promoted, by name."""
        self.loaded = asyncio.Event()
        """Set once the store has told what there is, or where there is none."""
        if trials is None:
            self.loaded.set()
        self.changed = asyncio.Event()
        """Set when they change; whoever waits for that clears it."""

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the store until `stop` is set; every change counts from the next decision on."""
        if self._trials is not None:
            await until_stopped(self._trials.store.watch(self._take), stop, self._begun)

    def _take(self, stored: Mapping[str, Experiment] | None) -> None:
        if stored is None:
            log.warning("experiments_suspended", experiments=sorted(self.in_force))
            stored = {}
        usable: dict[str, Experiment] = {}
        of_arm: dict[tuple[str, str], tuple[Arm, Rules]] = {}
        for name, each in stored.items():
            if each.stage is not Stage.STOPPED and (made := self._made(each)) is not None:
                usable[name] = each
                of_arm |= made
        if usable != self.in_force:
            log.info("experiments_in_force", experiments={name: str(each.stage) for name, each in usable.items()})
        self.in_force, self._of_arm = usable, of_arm
        self.loaded.set()
        self.changed.set()

    def _made(self, experiment: Experiment) -> dict[tuple[str, str], tuple[Arm, Rules]] | None:
        """Return each arm with its rules; None if the experiment cannot be used with what is deployed here."""
        assert self._trials is not None
        try:
            check(experiment, self._rules)
            return {
                (experiment.name, arm.name): (arm, self._trials.rules_of(experiment, arm)) for arm in experiment.arms
            }
        except ConfigError as error:
            log.warning("experiment_left_out", subject=experiment.name, problem=str(error))
            return None

    def enrol(self, inflight: InFlightJob) -> InFlightJob:
        """Return the job with its arm: drawn now if it has just come in, else the one that it was drawn into."""
        if not self.in_force or inflight.shadow is not None:
            return inflight
        found = inflight.assigned
        if found is None and inflight.sent is None:
            found = assigned(inflight.job, self.in_force.values())
        if found is None:
            return inflight
        of_arm = self._of_arm.get((found.experiment, found.arm))
        if of_arm is None or of_arm[0].prompt is None:
            return inflight if found is inflight.assigned else replace(inflight, assigned=found)
        job = inflight.job
        asked = replace(job, request=asked_in(of_arm[0], job.request))
        return replace(inflight, job=asked, submitted=job, assigned=found)

    def rules(self, arm: Assignment | None) -> Rules:
        """Return the rules that a job in this arm is decided by; those in force where the arm is stopped or unknown."""
        if arm is None:
            return self._rules
        found = self._of_arm.get((arm.experiment, arm.arm))
        return self._rules if found is None else found[1]
