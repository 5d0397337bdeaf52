"""`fleet report savings`: what the fleet cost, beside what the same jobs would have cost otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.model.errors import ConfigError
from fleet.model.feedback import Feedback
from fleet.model.money import NanoUsd
from fleet.model.target import Target
from fleet.reports import answered as jobs
from fleet.reports.answered import AnsweredJobs
from fleet.reports.baselines import AnotherWay, CloudModel, all_cloud, all_large, cheapest_good_enough, cloud_models
from fleet.reports.books import ReportBooks
from fleet.reports.mechanisms import Mechanism, mechanisms
from fleet.reports.opinions import Opinions
from fleet.reports.periods import Period
from fleet.reports.pricing import Pricing
from fleet.reports.shares import LEAST_JUDGED
from policies.rules.catalogue import Catalogue
from policies.rules.rules import Rules


@dataclass(frozen=True, slots=True)
class Spent:
    """The cost of a period: `total` is what `paid` to providers and imputed to the fleet's `own` targets add up to."""

    total: NanoUsd
    paid: NanoUsd
    own: NanoUsd
    comparisons: NanoUsd
    second_looks: NanoUsd
    failed: NanoUsd

    def as_json(self) -> dict[str, Any]:
        names = ("total", "paid", "own", "comparisons", "second_looks", "failed")
        return {f"{name}_nano_usd": getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class SavingsReport:
    """The report. `notes` say what in it is an estimate, and what cannot be known."""

    period: Period
    days: tuple[str, ...]
    prices_as_of: str | None
    jobs: int
    spent: Spent
    baselines: tuple[AnotherWay, ...]
    models: tuple[CloudModel, ...]
    mechanisms: tuple[Mechanism, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "since": self.period.since,
            "until": self.period.until,
            "days": list(self.days),
            "prices_as_of": self.prices_as_of,
            "jobs": self.jobs,
            "spent": self.spent.as_json(),
            "baselines": [each.as_json(self.spent.total) for each in self.baselines],
            "cloud_models": [each.as_json() for each in self.models],
            "mechanisms": [each.as_json() for each in self.mechanisms],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Question:
    """The question of a report: period, prices, and a cloud target to compare with in place of each ladder's last."""

    period: Period
    prices: Catalogue
    cloud: str | None = None

    def target(self) -> Target | None:
        """Return the cloud target. Raises: ConfigError if there is none of that name."""
        if self.cloud is None:
            return None
        target = self.prices.get(self.cloud)
        if target is None or not target.is_cloud:
            clouds = ", ".join(each.name for each in self.prices.targets.values() if each.is_cloud)
            raise ConfigError("--cloud", f"must be a target outside the fleet: {clouds}")
        return target


def savings_report(
    books: ReportBooks, question: Question, rules: Rules, feedback: Iterable[Feedback] | None
) -> SavingsReport:
    """Compare what the period cost with its baselines. `feedback` None: it could not be read, so quality is unknown.

    Raises: DamagedArchive; ConfigError if the price list lacks a target.
    """
    named, answered, opinions = question.target(), AnsweredJobs(), Opinions(feedback or ())
    gone: dict[str, int] = {}
    read = books.of(question.period)
    for book in read:
        lines = books.lines(book, jobs.COLUMNS)
        answered.add(lines)
        opinions.add(lines)
        gone[book.day] = books.gone(book, lines)
    pricing = Pricing(rules, question.prices, answered.calls)
    models = cloud_models(answered, pricing, opinions)
    return SavingsReport(
        period=question.period,
        days=tuple(book.day for book in read),
        prices_as_of=question.prices.prices_as_of,
        jobs=answered.count,
        spent=_spent(answered, pricing),
        baselines=(
            all_cloud(answered, pricing, opinions, named),
            cheapest_good_enough(answered, pricing, opinions, models),
            all_large(answered, pricing, opinions),
        ),
        models=models,
        mechanisms=mechanisms(answered, pricing),
        notes=(*_notes(answered, opinions, question, feedback is not None), *_gone(gone)),
    )


def _spent(answered: AnsweredJobs, pricing: Pricing) -> Spent:
    own = sum(cost for target, cost in answered.cost.items() if pricing.is_own(target, answered))
    total = answered.cost.total()
    return Spent(total, total - own, own, answered.comparisons, answered.looks, answered.failed)


def _notes(answered: AnsweredJobs, opinions: Opinions, question: Question, has_feedback: bool) -> Iterator[str]:
    """Yield a sentence for everything that is estimated or left out."""
    as_of = question.prices.prices_as_of
    yield (
        f"Prices are those of the catalogue, looked up in {as_of}."
        if as_of
        else "The catalogue does not say when its prices were looked up: give it `prices_as_of`."
    )
    yield (
        "What another model would have cost is an estimate: it is priced with the tokens of the answer that was"
        " delivered, and models count and write differently."
    )
    yield (
        "The price of the fleet's own targets is imputed by the catalogue for machines that are busy half the time; the"
        " bill for the machines is not in the ledger."
    )
    if answered.written:
        yield (
            "What a model would have taken for an answer that is written down is an estimate, by the characters of the"
            " request and the answer."
        )
    yield "Some jobs could not have gone elsewhere: the ledger does not say which may not leave the fleet."
    yield from _counted(answered)
    yield from _quality_notes(opinions, has_feedback)


def _counted(answered: AnsweredJobs) -> Iterator[str]:
    for count, what in (
        (answered.unanswered, "ended without an answer: their calls are in the fleet's cost and in no other"),
        (answered.own_key, "ran on their tenants' own keys: they are in no figure"),
        (answered.untold, "were answered without a call, by an unknown number of tokens: they are in no figure"),
        (answered.unseen, "had their answer on a day that was not read: they are in no other figure than the fleet's"),
    ):
        if count:
            yield f"{count:,} jobs {what}."


def _gone(lines: Mapping[str, int]) -> Iterator[str]:
    for day, count in lines.items():
        if count:
            yield f"{count:,} lines of {day} are gone, deleted before the day was archived: they are in no figure."


def _quality_notes(opinions: Opinions, has_feedback: bool) -> Iterator[str]:
    if not has_feedback:
        yield "Quality is not known: the feedback could not be read."
        return
    if opinions.compared_with:
        yield (
            "The difference in quality is that of answers delivered as confident: a sample, drawn with known"
            " probability, is compared with a stronger model's. Each that disagrees counts as worse, so the fleet is at"
            " most as much worse as this says; all other answers are taken to be as good."
        )
    else:
        yield "No kept answer was compared with a stronger model's, so the difference in quality is not known."
    judged = opinions.good()
    if judged is None or judged.n < LEAST_JUDGED:
        count = 0 if judged is None else judged.n
        yield f"Answers judged by users or graders: {count:,}, too few to prove a model good enough."
