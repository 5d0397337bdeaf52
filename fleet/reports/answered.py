"""The answered jobs of a ledger, as far as prices need them: whose answer they got, and with how many tokens."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleet.ledger.tables import TOKENS
from fleet.model.attempt import Usage
from fleet.model.job import Plan
from fleet.model.money import NanoUsd
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.target import PATTERN, SEMANTIC, WITHOUT_CALL

JobKey = tuple[str, str]
"""A tenant and a job id."""

Row = Mapping[str, Any]

COLUMNS = (
    *("tenant", "job_id", "task", "plan", "status", "reason", "attempt", "target", "provider", "failure", "probe"),
    *("cost_nano_usd", *TOKENS, "submitted_at", "left_out_tokens"),
    *("avoided_target", "avoided_input_tokens", "avoided_output_tokens", "avoided_at"),
)
"""The columns of the ledger that are read."""

_WITHOUT_CALL = pa.array(sorted(WITHOUT_CALL))
_ANSWERED = pa.array([str(Status.SUCCEEDED), str(Status.BEST_EFFORT)])
_TOKEN_SUMS = [(name, "sum") for name in TOKENS]
_AVOIDED_SUMS = [("avoided_input_tokens", "sum"), ("avoided_output_tokens", "sum")]


@dataclass(frozen=True, slots=True)
class PricedKind:
    """Jobs that are priced alike: of one task and plan, answered by one target.

    That of a cached answer is the one that gave it, that of an answer that is written down is `pattern`.
    """

    task: str
    plan: str
    target: str


NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class AnsweredBatch:
    """Answered jobs, and the tokens of the answers that were delivered."""

    jobs: int = 0
    usage: Usage = NOTHING

    def __add__(self, other: AnsweredBatch) -> AnsweredBatch:
        return AnsweredBatch(self.jobs + other.jobs, self.usage + other.usage)


def count_of(jobs: Mapping[PricedKind, AnsweredBatch]) -> int:
    return sum(batch.jobs for batch in jobs.values())


@dataclass(slots=True)
class AnsweredJobs:
    """The answered jobs of a period; days are added one by one.

    `jobs` are those that a model answered and the fleet pays for, by kind; those `kept` were delivered as confident, by
    target, and those `looked` after a second look that found the answer good. `cached` ones got an answer that was
    given before, `together` ones one that was made while they waited for it,
    `similar` ones that of a question that sounds alike, `written` ones one that is written down, all with
    the tokens that a model would have taken; of `untold` ones these are not known. `calls` are the tokens of all calls
    that the fleet paid for, `cost` the money, by target. Part of the money went into `comparisons`, second `looks` and
    calls that `failed`. `own_key` jobs are those of that plan, `unanswered` ones ended without an answer, and the
    answer of `unseen` ones is on a day that was not read. `left_out` are the tokens that paid calls left out of their
    requests, by target, and `restored` is the money for those of them that were made again with all tools.
    """

    jobs: defaultdict[PricedKind, AnsweredBatch] = field(default_factory=lambda: defaultdict(AnsweredBatch))
    cached: defaultdict[PricedKind, AnsweredBatch] = field(default_factory=lambda: defaultdict(AnsweredBatch))
    together: defaultdict[PricedKind, AnsweredBatch] = field(default_factory=lambda: defaultdict(AnsweredBatch))
    similar: defaultdict[PricedKind, AnsweredBatch] = field(default_factory=lambda: defaultdict(AnsweredBatch))
    written: defaultdict[PricedKind, AnsweredBatch] = field(default_factory=lambda: defaultdict(AnsweredBatch))
    looked: defaultdict[PricedKind, AnsweredBatch] = field(default_factory=lambda: defaultdict(AnsweredBatch))
    calls: defaultdict[str, Usage] = field(default_factory=lambda: defaultdict(Usage))
    kept: Counter[str] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    providers: dict[str, str | None] = field(default_factory=dict)
    comparisons: NanoUsd = 0
    looks: NanoUsd = 0
    failed: NanoUsd = 0
    restored: NanoUsd = 0
    own_key: int = 0
    unanswered: int = 0
    unseen: int = 0
    untold: int = 0

    @property
    def given_again(self) -> tuple[Mapping[PricedKind, AnsweredBatch], ...]:
        """The jobs that got an answer of another job, however it came to them."""
        return self.cached, self.together, self.similar

    @property
    def everyone(self) -> Mapping[PricedKind, AnsweredBatch]:
        """The answered jobs with and without a call, whose tokens are known: those that another way has to answer."""
        found: defaultdict[PricedKind, AnsweredBatch] = defaultdict(AnsweredBatch)
        for jobs in (self.jobs, *self.given_again, self.written):
            for kind, batch in jobs.items():
                found[kind] += batch
        return found

    @property
    def count(self) -> int:
        return count_of(self.everyone)

    def add(self, lines: pa.Table) -> None:
        """Add the lines of a day."""
        for row in _by_target(lines):
            self.cost[row["target"]] += row["cost_nano_usd_sum"] or 0
            self.providers[row["target"]] = row["provider_max"]
        # Calls on a tenant's own key cost the fleet nothing.
        for row in _by_target(lines.filter(pc.greater(lines["cost_nano_usd"], 0))):
            self.calls[row["target"]] += _usage_sum(row)
        compared = pc.fill_null(pc.equal(lines["reason"], str(Reason.SHADOW)), False)
        own = lines.filter(pc.invert(compared))
        self.comparisons += _cost(lines.filter(compared))
        self.looks += _cost(own.filter(pc.is_valid(own["probe"])))
        self.failed += _cost(own.filter(pc.is_valid(own["failure"])))
        self._add_diets(own)
        self._add_jobs(own)

    def _add_diets(self, own: pa.Table) -> None:
        paid = own.filter(pc.and_(pc.is_valid(own["left_out_tokens"]), pc.greater(own["cost_nano_usd"], 0)))
        for row in paid.group_by("target").aggregate([("left_out_tokens", "sum")]).to_pylist():
            self.left_out[row["target"]] += row["left_out_tokens_sum"]
        again = pc.fill_null(pc.equal(paid["reason"], str(Reason.TOOLS_RESTORED)), False)
        self.restored += _cost(paid.filter(again))

    def _add_jobs(self, own: pa.Table) -> None:
        ended = own.filter(pc.is_in(own["status"], _ANSWERED))
        self.unanswered += own["status"].length() - own["status"].null_count - len(ended)
        with_key = pc.fill_null(pc.equal(ended["plan"], str(Plan.OWN_KEY)), False)
        self.own_key += _count(with_key)
        ended = ended.filter(pc.invert(with_key))
        without_call = pc.is_in(ended["target"], _WITHOUT_CALL)
        self._add_without_call(ended.filter(without_call))
        ended = ended.filter(pc.invert(without_call))
        at_once = _is_answer(ended)
        alike = ended.filter(at_once).group_by(["task", "plan", "target", "reason"])
        for row in alike.aggregate([([], "count_all"), *_TOKEN_SUMS]).to_pylist():
            self._add_batch(row, row["reason"], AnsweredBatch(row["count_all"], _usage_sum(row)))
        self._add_late(ended.filter(pc.invert(at_once)), own)

    def _add_without_call(self, ended: pa.Table) -> None:
        told = ended.filter(pc.is_valid(ended["avoided_input_tokens"]))
        self.untold += len(ended) - len(told)
        waited = pc.fill_null(pc.greater(told["avoided_at"], told["submitted_at"]), False)
        alike = told.append_column("waited", waited).group_by(["task", "plan", "target", "avoided_target", "waited"])
        for row in alike.aggregate([([], "count_all"), *_AVOIDED_SUMS]).to_pylist():
            usage = Usage(row["avoided_input_tokens_sum"], row["avoided_output_tokens_sum"] or 0)
            batch = AnsweredBatch(row["count_all"], usage)
            if row["target"] == PATTERN:
                self.written[_kind(row)] += batch
            else:
                given = self.together if row["waited"] else self.cached
                given = self.similar if row["target"] == SEMANTIC else given
                given[_kind(row | {"target": row["avoided_target"] or ""})] += batch

    def _add_batch(self, answer: Row, reason: str | None, batch: AnsweredBatch) -> None:
        self.jobs[_kind(answer)] += batch
        if reason == Reason.CONFIDENT:
            self.kept[answer["target"]] += batch.jobs

    def _add_late(self, ended: pa.Table, own: pa.Table) -> None:
        """Add jobs whose last line is no answer to the job itself: their answer is on a line before it.

        A line without an attempt names the target whose answer it is; lines of older versions do not.
        """
        earlier = own.filter(pc.is_in(own["job_id"], ended["job_id"].combine_chunks()))
        answers: dict[tuple[JobKey, str | None], Row] = {}
        for row in earlier.filter(_is_answer(earlier)).sort_by("attempt").to_pylist():
            answers[_key(row), row["target"]] = answers[_key(row), None] = row
        looks = {_key(row) for row in earlier.filter(pc.is_valid(earlier["probe"])).to_pylist()}
        for row in ended.to_pylist():
            answer = answers.get((_key(row), row["target"] if row["attempt"] is None else None))
            if answer is None:
                self.unseen += 1
                continue
            batch = AnsweredBatch(1, Usage(**{name: answer[name] or 0 for name in TOKENS}))
            self._add_batch(answer, row["reason"], batch)
            if _key(row) in looks and row["reason"] == Reason.CONFIDENT:
                self.looked[_kind(answer)] += batch


def _by_target(lines: pa.Table) -> Iterator[Row]:
    called = lines.filter(pc.and_(pc.is_valid(lines["attempt"]), pc.is_valid(lines["target"])))
    measured = [("provider", "max"), ("cost_nano_usd", "sum"), *_TOKEN_SUMS]
    yield from called.group_by("target").aggregate(measured).to_pylist()


def _usage_sum(row: Row) -> Usage:
    return Usage(**{name: row[f"{name}_sum"] or 0 for name in TOKENS})


def _is_answer(lines: pa.Table) -> pa.ChunkedArray:
    """Return which lines have an answer to the job itself."""
    called = pc.and_(pc.is_valid(lines["attempt"]), pc.is_valid(lines["target"]))
    return pc.and_(called, pc.and_(pc.is_null(lines["failure"]), pc.is_null(lines["probe"])))


def _kind(row: Row) -> PricedKind:
    return PricedKind(row["task"] or "", row["plan"] or "", row["target"])


def _key(row: Row) -> JobKey:
    return row["tenant"], row["job_id"]


def _cost(lines: pa.Table) -> NanoUsd:
    cost: NanoUsd | None = pc.sum(lines["cost_nano_usd"]).as_py()
    return cost or 0


def _count(which: pa.ChunkedArray) -> int:
    count: int | None = pc.sum(which).as_py()
    return count or 0
