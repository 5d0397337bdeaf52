"""`fleet report week`: what fell through to dearer targets in a week, and what each change would have saved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleet.lab.learning.collected import LabelledAnswer
from fleet.lab.learning.fitting import goal_of
from fleet.lab.weekly.adapters import adapter_changes
from fleet.lab.weekly.answers import OneAnswer, WeekOfAnswers
from fleet.lab.weekly.changes import Change, changes
from fleet.lab.weekly.fell import FellThrough, Servable, fell_through, servable
from fleet.lab.weekly.redraws import redrawn
from fleet.ledger.tables import TOKENS
from fleet.model.adapter import RegisteredAdapter
from fleet.model.attempt import Usage
from fleet.model.reason import Reason
from fleet.model.redraw import is_redraw
from fleet.model.result import Status
from fleet.model.target import WITHOUT_CALL
from fleet.reports.answered import JobKey, PricedKind
from fleet.reports.books import ReportBooks
from fleet.reports.periods import Period
from fleet.reports.pricing import Pricing
from policies.rules.rules import Rules

NANO = 1e-9
COLUMNS = (
    *(
        "tenant",
        "job_id",
        "task",
        "plan",
        "status",
        "reason",
        "attempt",
        "target",
        "adapter",
        "failure",
        "probe",
        "confidence",
    ),
    *("cost_nano_usd", *TOKENS),
)

Row = Mapping[str, Any]
Place = tuple[str, str, str]
"""A target, a task, and the digest of the adapter that answered (empty: none)."""


@dataclass(frozen=True, slots=True)
class WeekReport:
    """The report on `week`; kept answers are judged by comparisons of the whole `window`. Money is in dollars.

    It is about the `answers` with a confidence whose jobs ended in the week; they, and what came after, cost `usd`.
    """

    week: Period
    window: Period
    answers: int
    usd: float
    fell: tuple[FellThrough, ...]
    servable: tuple[Servable, ...]
    changes: tuple[Change, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def week_report(
    books: ReportBooks,
    week: Period,
    window: Period,
    rules: Rules,
    labels: Iterable[LabelledAnswer],
    adapters: Iterable[RegisteredAdapter] = (),
) -> WeekReport:
    """Report on the week by the books and the labels of the window, which ends with it, and by the adapters there are.

    Raises: LedgerUnavailable, DamagedArchive.
    """
    labels = list(labels)
    weeks, redraws = weeks_of(books, week.since, window, rules, labels), redrawn(labels)
    return WeekReport(
        week,
        window,
        answers=sum(map(len, weeks)),
        usd=sum(each.usd for each in weeks),
        fell=tuple(sorted((row for each in weeks for row in fell_through(each)), key=lambda row: -row.usd)),
        servable=tuple(servable(each, redraws[each.target, each.task]) for each in weeks if each.doubted.any()),
        changes=(*changes(weeks), *adapter_changes(weeks, adapters)),
    )


def weeks_of(
    books: ReportBooks, since: str, window: Period, rules: Rules, labels: Iterable[LabelledAnswer]
) -> list[WeekOfAnswers]:
    """Return the answers from the day `since` on, by target and task; those before it in the window judge kept ones.

    Raises: LedgerUnavailable, DamagedArchive.
    """
    judged = {(each.job, each.target): each for each in labels if each.propensity is not None}
    reader = _Reader(Pricing(rules, rules.catalogue, {}), judged)
    old: defaultdict[Place, list[OneAnswer]] = defaultdict(list)
    new: defaultdict[Place, list[OneAnswer]] = defaultdict(list)
    for book in books.of(window):
        for place, answer in reader.answers(books.lines(book, COLUMNS)):
            (new if book.day >= since else old)[place].append(answer)
    return [_week(place, answers, old[place], rules) for place, answers in sorted(new.items())]


def _week(place: Place, answers: list[OneAnswer], older: list[OneAnswer], rules: Rules) -> WeekOfAnswers:
    target, task, version = place
    known = rules.catalogue.get(target)
    risk = rules.confidence.risk if known is None else goal_of(known, rules).risk
    return WeekOfAnswers.of(target, task, risk, answers, older, version)


@dataclass(slots=True)
class _Reader:
    """Reads a day's lines after the other; the lines of a job that has not ended yet wait for the next day's."""

    pricing: Pricing
    judged: Mapping[tuple[str, str], LabelledAnswer]
    open: defaultdict[JobKey, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def answers(self, lines: pa.Table) -> Iterator[tuple[Place, OneAnswer]]:
        """Yield every answer with a confidence of the jobs that end in these lines, comparisons aside."""
        own = lines.filter(pc.invert(pc.fill_null(pc.equal(lines["reason"], str(Reason.SHADOW)), False)))
        for row in own.to_pylist():
            if is_redraw(row["job_id"]):
                continue
            key = row["tenant"], row["job_id"]
            self.open[key].append(row)
            if row["status"] is not None:
                yield from self._of_job(key, self.open.pop(key))

    def _of_job(self, key: JobKey, rows: list[Row]) -> Iterator[tuple[Place, OneAnswer]]:
        calls = sorted((row for row in rows if _is_call(row)), key=lambda row: row["attempt"])
        end = rows[-1]
        for number, row in enumerate(calls):
            if row["failure"] is not None or row["probe"] is not None or row["confidence"] is None or not row["task"]:
                continue
            after = calls[number + 1 :]
            delivered = not [each for each in after if each["probe"] is None]
            kept = delivered and end["status"] == Status.SUCCEEDED
            if delivered and not kept:
                continue  # the best there was: nobody decided to keep it
            above = sum(each["cost_nano_usd"] or 0 for each in after)
            found = OneAnswer(
                row["confidence"],
                kept,
                "" if kept else row["reason"] or "",
                not kept and row["reason"] == Reason.LOW_CONFIDENCE,
                (row["cost_nano_usd"] or 0) * NANO,
                above * NANO,
                self._next_usd(row) if kept else 0.0,
            )
            yield (row["target"], row["task"], row["adapter"] or ""), self._judged(key, row["target"], found)

    def _next_usd(self, row: Row) -> float:
        """Return what the next target would charge for as many tokens."""
        above = self.pricing.next_rung(PricedKind(row["task"], row["plan"] or "", row["target"]))
        usage = Usage(**{name: row[name] or 0 for name in TOKENS})
        return 0.0 if above is None else self.pricing.of(usage, above) * NANO

    def _judged(self, key: JobKey, target: str, answer: OneAnswer) -> OneAnswer:
        label = self.judged.get((".".join(key), target))
        if label is None:
            return answer
        return replace(answer, good=label.good, strong_good=label.strong_good, propensity=label.propensity)


def _is_call(row: Row) -> bool:
    return row["attempt"] is not None and row["target"] is not None and row["target"] not in WITHOUT_CALL
