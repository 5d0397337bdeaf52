"""Gathers what is known of the quality of answers: the shadow sample, and what users and graders said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleet.lab.learning.collected import is_good
from fleet.model.feedback import Feedback, Verdict, Witness
from fleet.model.reason import Reason
from fleet.reports.answered import JobKey
from fleet.reports.shares import Share, pooled, weighted


@dataclass(frozen=True, slots=True)
class Difference:
    """The fleet's share of good answers less that of the `strong` targets, as far as comparisons show it.

    `disagreed` is the share of other targets' answers, kept with confidence, that a comparison disagreed with, and
    `kept` which share of all answers they are. Each disagreement counts as a worse answer, so the truth is at most as
    bad as this.
    """

    strong: tuple[str, ...]
    disagreed: Share
    kept: float

    @property
    def points(self) -> tuple[float, float, float]:
        """The difference, and its interval from low to high; none is above 0."""
        found = self.disagreed
        return -self.kept * found.share, -self.kept * found.high, -self.kept * found.low

    def as_json(self) -> dict[str, Any]:
        point, low, high = self.points
        known = {"strong": list(self.strong), "kept_share": self.kept, "disagreed": self.disagreed.as_json()}
        return {"difference": point, "low": low, "high": high} | known


class Opinions:
    """The feedback on a period's jobs, joined with the ledger day by day."""

    def __init__(self, feedback: Iterable[Feedback]) -> None:
        self._said: defaultdict[JobKey, list[Feedback]] = defaultdict(list)
        for said in feedback:
            self._said[said.tenant, said.job_id].append(said)
        self._jobs = pa.array(sorted({job_id for _, job_id in self._said}), pa.string())
        self._delivered: dict[JobKey, str] = {}
        self._compared: dict[JobKey, str] = {}

    def add(self, lines: pa.Table) -> None:
        """Find in a day's lines whose answers somebody spoke of."""
        found = lines.filter(pc.is_in(lines["job_id"], self._jobs))
        answers = found.filter(pc.and_(found["failure"].is_null(), found["target"].is_valid()))
        for row in answers.filter(answers["probe"].is_null()).sort_by("attempt").to_pylist():
            of = self._compared if row["reason"] == Reason.SHADOW else self._delivered
            of[row["tenant"], row["job_id"]] = row["target"]

    def difference(self, strong: Iterable[str], kept: float) -> Difference | None:
        """Return how the fleet compares with these targets; None if no kept answer was compared with one of them.

        Answers were drawn with a known probability, and count by its inverse.
        """
        among = frozenset(strong)
        drawn = [
            (1 / said.propensity, said.verdict is not Verdict.GOOD)
            for target, said in self._comparisons()
            if target in among and said.propensity
        ]
        found = weighted(drawn)
        return None if found is None else Difference(tuple(sorted(among & self.compared_with)), found, kept)

    @property
    def compared_with(self) -> frozenset[str]:
        """The targets that kept answers were compared with."""
        return frozenset(target for target, _ in self._comparisons())

    def _comparisons(self) -> Iterator[tuple[str, Feedback]]:
        """Yield the comparisons of kept answers, each with the target that it was made with."""
        for job, said in self._said.items():
            if job in self._compared:
                mine = (each for each in said if each.source is Witness.SHADOW)
                yield from ((self._compared[job], each) for each in mine if each.target == self._delivered.get(job))

    def good_by_target(self) -> Mapping[str, Share]:
        """Return which share of each target's delivered answers users or graders found good, by their last word."""
        votes: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
        for job, said in self._said.items():
            target = self._delivered.get(job)
            opinions = [each for each in said if each.source is not Witness.SHADOW and each.target in (None, target)]
            if target is not None and opinions:
                votes[target].append((1.0, is_good(opinions[-1])))
        return {target: share for target, each in votes.items() if (share := weighted(each)) is not None}

    def good(self) -> Share | None:
        """Return which share of all delivered answers users or graders found good."""
        return pooled(self.good_by_target().values())
