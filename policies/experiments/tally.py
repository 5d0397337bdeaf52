"""Turns lines of the ledger and verdicts into what they say of arms.

What a job does counts for the arm it was drawn into: an escalated one, one answered from the cache and one that got no
answer at all. The same lines in the same order give the same evidence, wherever and whenever they are read.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from fleet.model.attempt import Answer, Attempt
from fleet.model.experiment import Experiment
from fleet.model.feedback import Feedback, Verdict
from fleet.model.result import LedgerEntry, Status
from policies.experiments.evidence import Evidence, Observed

MOST_OPEN = 100_000
"""Maximum jobs of which some lines are known, and not the last one."""

MOST_ENDED = 200_000
"""Maximum jobs of which it is remembered that they ended, and in which arm, for what is said of them later."""

JobKey = tuple[str, str]


@dataclass(slots=True)
class _Lines:
    """The lines of one job so far."""

    cost_usd: float = 0.0
    targets: set[str] = field(default_factory=set)
    good: dict[str, float] = field(default_factory=dict)
    answered: str = ""
    gate_failed: bool = False

    def add(self, attempt: Attempt) -> None:
        self.cost_usd += attempt.cost_usd
        if attempt.probe is None:
            self.targets.add(attempt.target)
            self.answered = attempt.target
            self.gate_failed = self.gate_failed or attempt.confidence == 0.0
        is_calibrated = attempt.judged is not None and attempt.judged.calibration is not None
        if isinstance(attempt.outcome, Answer) and attempt.confidence is not None and is_calibrated:
            self.good[self.answered] = min(1.0, max(0.0, attempt.confidence))

    def observed(self, arm: str, seconds: float, target: str | None) -> Observed:
        """Return what the job says of its arm; `target` is whose answer it got, None for none."""
        answered = target is not None
        good = None if target is None else self.good.get(target)
        failed = self.gate_failed or not answered
        return Observed(arm, seconds, self.cost_usd, len(self.targets) > 1, failed, good, answered)


class Tally:
    """The evidence on every experiment, from the first line on."""

    def __init__(self) -> None:
        self.evidence: dict[str, Evidence] = {}
        self._open: OrderedDict[JobKey, _Lines] = OrderedDict()
        self._early: OrderedDict[JobKey, None] = OrderedDict()
        self._disliked: OrderedDict[JobKey, None] = OrderedDict()
        self._ended: OrderedDict[JobKey, tuple[str, str]] = OrderedDict()

    def begin(self, experiment: Experiment) -> None:
        """Count what comes for the experiment from now on."""
        self.evidence.setdefault(experiment.name, Evidence(experiment))

    def line(self, entry: LedgerEntry) -> Evidence | None:
        """Take in a line; return the evidence that a job which ended with it has added to."""
        assigned = entry.assigned
        if assigned is None or (evidence := self.evidence.get(assigned.experiment)) is None:
            return None
        key = (entry.tenant, entry.job_id)
        if key in self._ended:
            return None
        lines = self._open.setdefault(key, _Lines())
        if entry.attempt is not None:
            lines.add(entry.attempt)
        if entry.status is None:
            _make_room(self._open, MOST_OPEN)
            return None
        del self._open[key]
        if entry.status is Status.CANCELLED:  # whoever calls a job off says nothing of its arm
            return None
        self._ended[key] = (assigned.experiment, assigned.arm)
        _make_room(self._ended, MOST_ENDED)
        seconds = max(0.0, entry.at - (entry.submitted_at or entry.at))
        evidence.observe(lines.observed(assigned.arm, seconds, _answered_by(entry)))
        if key in self._early:
            del self._early[key]
            self._dislike(key, evidence, assigned.arm)
        return evidence

    def verdict(self, feedback: Feedback) -> Evidence | None:
        """Take in what was said of an answer; return the evidence it adds to.

        A verdict may be read before the last line of its job, as they come from streams of their own. However often a
        job is called bad, it counts once: the bets are on jobs.
        """
        if feedback.verdict is not Verdict.BAD:
            return None
        key = (feedback.tenant, feedback.job_id)
        if (found := self._ended.get(key)) is None:
            self._early[key] = None
            _make_room(self._early, MOST_OPEN)
            return None
        evidence = self.evidence[found[0]]
        self._dislike(key, evidence, found[1])
        return evidence

    def _dislike(self, key: JobKey, evidence: Evidence, arm: str) -> None:
        if key not in self._disliked:
            self._disliked[key] = None
            _make_room(self._disliked, MOST_ENDED)
            evidence.disliked(arm)


def _answered_by(entry: LedgerEntry) -> str | None:
    """Return whose answer the job got with its last line; None if it got none."""
    if entry.status not in (Status.SUCCEEDED, Status.BEST_EFFORT):
        return None
    return entry.target if entry.attempt is None else entry.attempt.target


def _make_room(remembered: OrderedDict[JobKey, Any], most: int) -> None:
    """Forget the oldest where there are too many."""
    while len(remembered) > most:
        remembered.popitem(last=False)
