"""What the jobs of an experiment say of its arms: six guardrails that stop an arm, two tests that promote it.

All are looked at after every job. The chance that an arm no worse than the control is ever stopped is at most `ALPHA`
over all guardrails and arms together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fleet.model.experiment import CONTROL, Experiment, Guardrail
from policies.experiments.comparison import EXPECTED, Comparison

ALPHA: Final = 0.05
"""The chance that an arm that is no worse than the control is ever stopped."""

STAKES: Final[Mapping[Guardrail, float]] = {
    Guardrail.QUALITY: 0.4,
    Guardrail.GATE_FAILURES: 0.2,
    Guardrail.ESCALATIONS: 0.1,
    Guardrail.LATE: 0.1,
    Guardrail.PRICE: 0.1,
    Guardrail.FEEDBACK: 0.1,
}
"""The parts of `ALPHA`: most of it for what sees quality, so that this is seen first."""

PROMOTION_ALPHA: Final = 0.05
"""The chance that an arm that is worse by the margin, or no cheaper, ever looks fit to be promoted."""

MEASURED_FIRST: Final = 100
"""Jobs of the control that say what is late and what is dear; they are not compared."""

SMALLEST_PRICE_USD: Final = 1e-4
"""The price that counts as dear where the control's jobs cost nothing."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A job of an experiment that has ended, with all its attempts.

    `gate_failed`: an answer failed a gate, or none came. `good` is the probability that the answer is good, None where
    nothing calibrated says so.
    """

    arm: str
    seconds: float
    cost_usd: float
    escalated: bool
    gate_failed: bool
    good: float | None = None
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How an arm stands in one comparison: means and numbers of both, and the evidence of those `needed`."""

    name: str
    candidate: float | None
    control: float | None
    candidates: int
    controls: int
    evidence: float
    needed: float

    def __str__(self) -> str:
        means = " against ".join("-" if each is None else f"{each:.3g}" for each in (self.candidate, self.control))
        return f"{means}, over {self.candidates} and {self.controls} jobs"

    @property
    def is_shown(self) -> bool:
        """Whether the evidence has been enough at any time."""
        return self.evidence >= self.needed


class _Arm:
    """The comparisons of one arm with the control."""

    def __init__(self, experiment: Experiment) -> None:
        margin = experiment.margin
        tolerances = {each: experiment.tolerance(each) for each in Guardrail}
        self.guardrails = {
            # How much dearer an arm may be is a share of the price, and taken off each price.
            each: Comparison(0.0 if each is Guardrail.PRICE else tolerance)
            for each, tolerance in tolerances.items()
            if tolerance is not None
        }
        self.price_factor = 1.0 / (1.0 + (tolerances[Guardrail.PRICE] or 0.0))
        bets = {margin / 2: 0.25, margin: 0.5, 2 * margin: 0.25}
        self.as_good = Comparison(-margin, bets, expected=1.0 - EXPECTED)
        self.cheaper = Comparison(expected=0.5)

    def add(self, guardrail: Guardrail, value: float, is_control: bool) -> None:
        if (comparison := self.guardrails.get(guardrail)) is not None:
            comparison.add(value, is_control)


class Evidence:
    """What is known of the arms of one experiment."""

    def __init__(self, experiment: Experiment) -> None:
        self.name = experiment.name
        self._first: list[Observed] | None = []
        self._late_seconds = 0.0
        self._dear_usd = SMALLEST_PRICE_USD
        self._arms = {arm.name: _Arm(experiment) for arm in experiment.arms}
        self.jobs: Counter[str] = Counter()
        """Number of jobs that have ended, by arm."""
        self.usd: Counter[str] = Counter()
        """What they cost together, by arm."""

    def observe(self, job: Observed) -> None:
        """Take in a job that has ended."""
        self.jobs[job.arm] += 1
        self.usd[job.arm] += job.cost_usd  # type: ignore[assignment]  # a counter adds any numbers
        for arm in self._concerned(job.arm):
            self._compare(arm, job)
        if job.arm == CONTROL and self._first is not None:
            self._measure(job, self._first)

    def disliked(self, arm: str) -> None:
        """Take in that an answer of this arm was called bad."""
        for each in self._concerned(arm):
            each.add(Guardrail.FEEDBACK, 1.0, arm == CONTROL)

    def _concerned(self, arm: str) -> Iterable[_Arm]:
        """Return the comparisons that a job of this arm belongs to: the control's to all of them."""
        return self._arms.values() if arm == CONTROL else [self._arms[arm]] if arm in self._arms else []

    def _measure(self, job: Observed, first: list[Observed]) -> None:
        """Learn from the first jobs of the control what is late and what is dear."""
        first.append(job)
        if len(first) == MEASURED_FIRST:
            self._late_seconds = sorted(each.seconds for each in first)[int(0.95 * MEASURED_FIRST)]
            self._dear_usd = 2.0 * max(each.cost_usd for each in first) or SMALLEST_PRICE_USD
            self._first = None

    def _compare(self, arm: _Arm, job: Observed) -> None:
        is_control = job.arm == CONTROL
        arm.add(Guardrail.GATE_FAILURES, float(job.gate_failed), is_control)
        arm.add(Guardrail.ESCALATIONS, float(job.escalated), is_control)
        arm.add(Guardrail.FEEDBACK, 0.0, is_control)
        # No answer is the worst one, but where nothing is judged there is nothing to hold it against.
        good = job.good if job.answered else 0.0 if arm.as_good.controls.n else None
        if good is not None:
            arm.add(Guardrail.QUALITY, 1.0 - good, is_control)
            arm.as_good.add(good, is_control)
        if self._first is None:
            price = job.cost_usd / self._dear_usd
            arm.add(Guardrail.LATE, float(job.seconds > self._late_seconds), is_control)
            arm.add(Guardrail.PRICE, min(1.0, price if is_control else price * arm.price_factor), is_control)
            arm.cheaper.add(1.0 - min(1.0, price), is_control)

    def guardrails(self, arm: str) -> Iterator[Standing]:
        """Yield how an arm stands in each guardrail that is on."""
        for guardrail, comparison in self._arms[arm].guardrails.items():
            yield _standing(guardrail, comparison, len(self._arms) / (ALPHA * STAKES[guardrail]))

    def promotion(self, arm: str) -> Iterator[Standing]:
        """Yield how far it is shown that an arm is no worse than by the margin, and that it is cheaper."""
        yield _standing("as_good", self._arms[arm].as_good, 1.0 / PROMOTION_ALPHA)
        yield _standing("cheaper", self._arms[arm].cheaper, 1.0 / PROMOTION_ALPHA)

    def tripped(self) -> tuple[str, Standing] | None:
        """Return an arm that a guardrail stops, and how it stands there; None where all is well."""
        for arm in self._arms:
            for standing in self.guardrails(arm):
                if standing.is_shown:
                    return arm, standing
        return None

    def may_promote(self, arm: str) -> bool:
        """Return whether an arm is shown to be as good and cheaper."""
        return all(standing.is_shown for standing in self.promotion(arm))


def _standing(name: str, comparison: Comparison, needed: float) -> Standing:
    candidates, controls = comparison.candidates, comparison.controls
    return Standing(name, candidates.mean, controls.mean, candidates.n, controls.n, comparison.highest, needed)
