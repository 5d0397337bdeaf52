"""Redraws: questions of doubted answers asked again, and how often the same came out.

A model answers the same question in two ways now and then, so some of what a week seems to say of single jobs is
chance: of the answers that were wrong where the stronger one was right, a part would not be again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fleet.lab.learning.collected import LabelledAnswer, key_of
from fleet.model.redraw import is_redraw, redraw_of

FEWEST_REDRAWS = 20
"""Minimum decisive answers asked again; with fewer nothing is said of chance."""

Place = tuple[str, str]
"""A target and a task."""


@dataclass(frozen=True, slots=True)
class Redrawn:
    """The decisive answers whose question was asked again, and how many came out the same way."""

    asked: int = 0
    same: int = 0

    @property
    def missing(self) -> int:
        return max(0, FEWEST_REDRAWS - self.asked)


def is_decisive(label: LabelledAnswer) -> bool:
    """Return whether the answer is what blames its target: wrong, where the stronger one compared with it is right."""
    return label.propensity is not None and label.strong_good is True and not label.good


def redrawn(labels: Iterable[LabelledAnswer]) -> defaultdict[Place, Redrawn]:
    """Return for each target and task how often the decisive answers came out the same way again."""
    by_answer = {(each.job, each.target): each for each in labels}
    found: defaultdict[Place, Redrawn] = defaultdict(Redrawn)
    for label in by_answer.values():
        tenant, job_id = key_of(label.job)
        second = by_answer.get((f"{tenant}.{redraw_of(tenant, job_id)}", label.target))
        if is_decisive(label) and second is not None and second.propensity is not None:
            before = found[label.target, label.task]
            found[label.target, label.task] = Redrawn(before.asked + 1, before.same + is_decisive(second))
    return found


def to_redraw(labels: Sequence[LabelledAnswer], tenant: str, since: str, until: str, most: int) -> list[LabelledAnswer]:
    """Return decisive answers to the tenant's jobs in these days that were not asked again yet: any, but not more."""
    there = {each.job for each in labels}
    found = {
        each.job: each
        for each in labels
        if is_decisive(each) and _is_of(each, tenant) and since <= _day(each) <= until and _redraw(each) not in there
    }
    return sorted(found.values(), key=lambda each: hashlib.blake2b(each.job.encode()).digest())[:most]


def _is_of(label: LabelledAnswer, tenant: str) -> bool:
    whose, job_id = key_of(label.job)
    return whose == tenant and not is_redraw(job_id)


def _redraw(label: LabelledAnswer) -> str:
    tenant, job_id = key_of(label.job)
    return f"{tenant}.{redraw_of(tenant, job_id)}"


def _day(label: LabelledAnswer) -> str:
    return "" if label.at is None else datetime.fromtimestamp(label.at, UTC).date().isoformat()
