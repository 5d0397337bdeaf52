"""Calibrations, which say how far answers can be trusted: kept current, and withdrawn where traffic has drifted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.patience import until_done, until_stopped
from fleet.dispatch.state.state import FleetState
from fleet.logs import get_logger
from fleet.model.attempt import Answer, Attempt, Judged
from fleet.model.calibration import Calibration, CalibrationKey, Guard
from fleet.model.errors import ConfigError
from fleet.model.experiment import Assignment
from fleet.model.router import Router, RouterKey
from fleet.model.target import Target
from fleet.ports import CalibrationStore
from policies.confidence.drift import DriftDetector, LossTest, psi
from policies.confidence.judge import judge, judge_again
from policies.confidence.lookup import calibration_for, is_of
from policies.rules.rules import Rules
from policies.shadow import kept_comparison

log = get_logger(__name__)

Calibrations = Mapping[CalibrationKey, Calibration]

LOOK_EVERY = 25
"""Answers between two checks of a histogram: one answer changes it little, and a check costs as much as ten."""

WITHDRAWN = "+withdrawn"
"""Suffix of the version of a withdrawn calibration."""


@dataclass(frozen=True, slots=True)
class Learned:
    """Learned data that a dispatcher is given: calibrations that change while it runs, and what it starts with.

    `prior` is shipped with the models; what the store holds under the same key takes precedence.
    """

    calibrations: CalibrationStore
    prior: Calibrations = field(default_factory=dict)
    routers: Mapping[RouterKey, Router] = field(default_factory=dict)


class Knowledge:
    """Holds the calibrations in force and watches every answer that is judged by one."""

    def __init__(
        self,
        learned: Learned,
        state: FleetState,
        rules: Rules,
        withdrawn: Callable[[str], None],
        rules_of: Callable[[Assignment | None], Rules] | None = None,
    ) -> None:
        """Make the keeper; `withdrawn` is told every version whose promise is taken back.

        `rules_of` gives the rules of an arm; without it there are no experiments.
        """
        self._rules_of = rules_of or (lambda _: rules)
        self._store = learned.calibrations
        self._prior = learned.prior
        self._rules = rules
        self._tell_withdrawn = withdrawn
        self._drifts: dict[CalibrationKey, tuple[str, DriftDetector, int]] = {}
        self._losses: dict[CalibrationKey, tuple[str, LossTest]] = {}
        self._withdrawn: dict[CalibrationKey, Calibration] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self.loaded = asyncio.Event()
        """Set once the store has told what is in force."""
        self.calibrations = learned.prior
        state.routers = learned.routers
        self._state = state

    async def watch(self, stop: asyncio.Event) -> None:
        """Follow the store until `stop` is set; every change counts from the next answer on."""
        self._stop = stop
        await until_stopped(self._store.watch(self._take), stop, self._telling)

    def _take(self, stored: Calibrations) -> None:
        """Take in what the store holds; a calibration withdrawn here stays withdrawn until another replaces it."""
        changed = {key: each for key, each in stored.items() if self._is_deployed(each)}
        for key, ours in self._withdrawn.items():
            if (there := {**self._prior, **changed}.get(key)) is not None and there.version + WITHDRAWN == ours.version:
                changed[key] = ours
        self.calibrations = {**self._prior, **changed}
        for each in changed.values():
            if each.withdrawn is not None:
                self._tell_withdrawn(each.version.removesuffix(WITHDRAWN))
        self.loaded.set()
        log.info("calibrations_in_force", versions=sorted({each.version for each in changed.values()}))

    def _is_deployed(self, stored: Calibration) -> bool:
        """Return whether the calibration is of the deployed model. An old model's must not hide the new prior."""
        target = self._rules.catalogue.targets.get(stored.key.target)
        return target is not None and is_of(stored, target)

    def promises(self) -> dict[CalibrationKey, bool]:
        """Return the calibrations that answers are judged by here; False where the promise is withdrawn.

        One of an adapter that no alias names any more judges nothing, and nobody has to mend it.
        """
        known = {"", *self._state.adapters.named}
        judging = (each for each in self.calibrations.values() if each.key.adapter in known and self._is_deployed(each))
        return {each.key: each.withdrawn is None for each in judging}

    def judge(self, inflight: InFlightJob, answer: Answer, target: Target) -> tuple[float | None, Judged | None]:
        """Return an answer's confidence and how it was judged; for a probe's reply, those of the answer it probes.

        Both are None where the probe brought nothing. A calibration says nothing of answers that had to be short.
        """
        rules = self._rules_of(inflight.assigned)
        is_short = inflight.diet is not None and inflight.diet.has_budget
        calibrations = {} if is_short else self.calibrations
        if inflight.probe is not None:
            again = judge_again(inflight.probe, inflight.attempts, answer, inflight.job, calibrations, rules)
            return again or (None, None)
        confidence, judged = judge(answer, inflight.job, target, calibrations, rules, inflight.adapter)
        if confidence and inflight.shadow is None:
            self._watch(inflight, target, confidence, judged)
        return confidence, judged

    def _watch(self, inflight: InFlightJob, target: Target, confidence: float, judged: Judged) -> None:
        """Watch for drift. An odd calibration, or a bug of ours, costs no job its answer."""
        # Where a guard gives all answers the same confidence, a histogram of it shows no drift.
        if judged.calibration is None or judged.guard is Guard.NO_BETTER_THAN_MIXING:
            return
        try:
            self._observe(inflight, target, confidence, judged)
        except Exception:
            log.exception("drift_not_watched", target=target.name, version=judged.calibration)

    def _observe(self, inflight: InFlightJob, target: Target, confidence: float, judged: Judged) -> None:
        """Count an answer in the histogram of the calibration that judged it; gate failures are left out."""
        original = self._rules.catalogue.original(target)
        task, kind = inflight.job.task, judged.kind
        calibration = calibration_for(original, task, kind, self.calibrations, inflight.adapter)
        if calibration is None:
            return
        version, drift, looks = self._drifts.get(calibration.key, ("", DriftDetector(), 0))
        if version != calibration.version:
            drift, looks = DriftDetector(), 0
        drift = drift.observe(confidence, calibration.edges)
        self._drifts[calibration.key] = (calibration.version, drift, looks + 1)
        if looks % LOOK_EVERY == 0 and calibration.withdrawn is None and drift.alarm(calibration.labels):
            moved = f"PSI {psi(drift.counts):.2f} over {drift.n:.0f} answers"
            self._withdraw(calibration, f"confidences have moved: {moved}")

    def compared(self, inflight: InFlightJob) -> None:
        """Count what a shadow comparison says about a kept answer."""
        if inflight.shadow is None or not isinstance(inflight.attempts[-1].outcome, Answer):
            return
        found = kept_comparison(inflight.shadow, inflight.attempts)
        if found is not None:
            self._count_loss(inflight, found.attempt, 0.0 if found.good else 1.0, found.propensity)

    def escalated(self, inflight: InFlightJob, attempt: Attempt, propensity: float) -> None:
        """Count a sampled answer that escalated as no loss: keeping it might have been one, escalating it was not."""
        self._count_loss(inflight, attempt, 0.0, propensity)

    def _count_loss(self, inflight: InFlightJob, attempt: Attempt, loss: float, propensity: float) -> None:
        calibration = self._of(inflight, attempt)
        if calibration is None or calibration.threshold is None or calibration.threshold.risk is None:
            return
        version, test = self._losses.get(calibration.key, ("", LossTest(calibration.threshold.risk)))
        if version != calibration.version:
            test = LossTest(calibration.threshold.risk)
        shares = (self._rules.shadow.kept, self._rules.shadow.escalated)
        least = min(share for share in (*shares, propensity) if share > 0.0)
        test = test.after(loss, least / propensity)
        self._losses[calibration.key] = (calibration.version, test)
        if calibration.withdrawn is None and test.alarm():
            self._withdraw(calibration, f"kept answers are wrong more often than promised, over {test.n} comparisons")

    def _of(self, inflight: InFlightJob, attempt: Attempt) -> Calibration | None:
        """Return the calibration that judged this attempt, if it is still in force."""
        if attempt.judged is None or attempt.judged.calibration is None:
            return None
        target = self._rules.catalogue.targets.get(attempt.target)
        if target is None:
            return None
        original = self._rules.catalogue.original(target)
        kind, adapter = attempt.judged.kind, attempt.adapter
        found = calibration_for(original, inflight.job.task, kind, self.calibrations, adapter)
        return found if found is not None and found.version == attempt.judged.calibration else None

    def _withdraw(self, calibration: Calibration, why: str) -> None:
        """Withdraw a calibration here at once; every other dispatcher learns of it through the store."""
        log.warning("calibration_withdrawn", calibration=str(calibration.key), version=calibration.version, why=why)
        ours = replace(calibration, withdrawn=why, version=calibration.version + WITHDRAWN)
        self._withdrawn[calibration.key] = ours
        self._tell_withdrawn(calibration.version)
        self.calibrations = {**self.calibrations, calibration.key: ours}
        task = asyncio.get_running_loop().create_task(self._tell(ours))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, calibration: Calibration) -> None:
        """Tell the others, however long the broker is away: what is not stored is back in force after a restart."""

        async def put() -> None:
            there = (await self._store.read_all()).get(calibration.key)
            # A new calibration may have been fitted since, which is what a withdrawal asks for: do not undo it.
            if there is None:
                await self._store.put([calibration])
            elif there.version + WITHDRAWN == calibration.version:
                await self._store.put([replace(calibration, looks=there.looks)])

        def complain(error: Exception) -> None:
            log.warning("withdrawal_not_stored", calibration=str(calibration.key), error=str(error))

        try:
            await until_done(put, self._stop, complain)
        except ConfigError as error:  # the others notice the drift themselves
            complain(error)
