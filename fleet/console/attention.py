"""Decides what a page says first: what is wrong with the fleet now, the worst first, each in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.serve.api import Mode
from fleet.app import InForce, Seen, SpendStatus
from fleet.app.status import DispatcherState, clock, dispatcher_statuses, open_breakers
from fleet.app.status import alive as alive_at
from fleet.console.alerts import Alerts
from fleet.ledger.reading import Sums
from fleet.model.calibration import ANY
from fleet.model.delivery import Fill
from fleet.model.result import DeadLetter, Status
from fleet.model.scaling import Load
from policies.rules.catalogue import Catalogue
from queues.wire.subjects import DEAD

LEDGER_LINES = 10_000
"""Lines of accounts that the database may be behind the stream before somebody is told."""

FAILED_PART, BAD_PART = 0.01, 0.1
"""The shares of today's ended jobs that failed or expired from which on it is said, and is bad."""

LETTERS_SECONDS = 86_400.0
"""Maximum age of the last dead letter for it to be said that there are any: they are kept for two weeks."""

NEAR = 0.8
"""The share of a limit, or of a stream's room, from which on it is worth a word."""

UNANSWERED = (Status.FAILED.value, Status.EXPIRED.value)
"""How jobs end that nobody cancelled and nothing refused, and that have no answer."""

ILL = frozenset({"deploy_failed", "unhealthy", "delete_failed"})
"""Serve's words for an application that does not serve."""


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """A sentence about `about`; `href` is a page of the console that says more, under the name `link`."""

    tone: str
    about: str
    text: str
    href: str | None = None
    link: str | None = None


def alive(seen: Seen) -> list[Load]:
    """Return the last reports of the dispatchers that are at work."""
    return alive_at(seen.loads, seen.at)


def level(spend: SpendStatus) -> str:
    """Return the tone of a limit by how much of it is gone."""
    part = _part(spend)
    return "bad" if part >= 1 else "fair" if part >= NEAR else ""


def notices(
    seen: Seen,
    catalogue: Catalogue,
    alerts: Alerts | None,
    in_force: InForce | None,
    ledger_behind: int | None,
    sums: Sequence[Sums] = (),
    last_letter: DeadLetter | None = None,
) -> list[AttentionItem]:
    """Return what needs attention, the worst first; `sums` are today's by status."""
    found = [*_broker(seen), *_dispatchers(seen), *_targets(seen, catalogue), *_breakers(seen), *_spend(seen)]
    found += [*_alerts(alerts), *_failures(sums), *_letters(seen, last_letter), *_promises(in_force)]
    found += _ledger(ledger_behind)
    return sorted(found, key=lambda notice: notice.tone != "bad")


def _broker(seen: Seen) -> Iterator[AttentionItem]:
    if not seen.status.reachable:
        why = f"does not answer at {seen.status.nats_url}" if seen.trouble is None else str(seen.trouble)
        yield AttentionItem("bad", "NATS", f"{why}. No job comes in and no result goes out.")
    for name, fill in (("JOBS", seen.depths.jobs_fill), ("WORK", seen.depths.work_fill)):
        if (part := _full(fill)) >= NEAR:
            yield AttentionItem(
                "bad" if part >= 0.95 else "fair", name, f"is {part:.0%} full; a full stream takes no more."
            )


def _full(fill: Fill) -> float:
    return fill.size / fill.limit if fill.limit else 0.0


def _dispatchers(seen: Seen) -> Iterator[AttentionItem]:
    if seen.status.reachable and not alive(seen):
        yield AttentionItem("bad", "Dispatchers", "None reports: jobs wait where they are.")
        return
    for each in dispatcher_statuses(seen.loads, seen.at):
        if each.state is DispatcherState.SILENT:
            held = "" if not each.held else f" and held {each.held:,} jobs, which others get when its leases end"
            text = f"({each.process}) has said nothing for {each.age_seconds:.0f} s{held}."
            yield AttentionItem("fair", f"Dispatcher {each.name}", text)


def _targets(seen: Seen, catalogue: Catalogue) -> Iterator[AttentionItem]:
    own = [target.name for target in catalogue.targets.values() if not target.is_cloud]
    if own and seen.scalings is None:
        yield AttentionItem("fair", "Ray", f"Replicas are {seen.status.replicas_seen or 'not known'}.")
    loads = alive(seen)
    served = {name for load in loads for name in load.serves or ()}
    known = bool(loads) and all(load.serves is not None for load in loads)  # older dispatchers do not say
    for target in seen.status.targets:
        scaling = (seen.scalings or {}).get(target.name)
        if target.state in ILL:
            yield AttentionItem(
                "bad", target.name, f"is {target.state.replace('_', ' ')}: {target.message or 'no reason given'}"
            )
        if scaling is not None and scaling.mode in (Mode.PAUSED, Mode.DRAINED):
            yield AttentionItem(
                "fair",
                target.name,
                f"is {scaling.mode} by an operator; fleet scale {target.name} --resume takes it up again.",
            )
        if known and target.queued and target.name not in served:
            yield AttentionItem("bad", target.name, f"has {target.queued:,} jobs and no dispatcher that serves it.")


def _breakers(seen: Seen) -> Iterator[AttentionItem]:
    for name, found in sorted(open_breakers(alive(seen)).items()):
        yield AttentionItem(
            "fair", name, f"keeps failing, so its breaker is open {found}.", f"/jobs?target={name}", "Its jobs"
        )


def _spend(seen: Seen) -> Iterator[AttentionItem]:
    for spend in seen.status.spend:
        if tone := level(spend):
            text = f"has spent {_part(spend):.0%} of today's limit of ${spend.limit_usd:,.2f}."
            yield AttentionItem(tone, spend.tenant or "The fleet", text, "/money", "Money")


def _part(spend: SpendStatus) -> float:
    return spend.spent_usd / spend.limit_usd if spend.limit_usd else 1.0


def _alerts(alerts: Alerts | None) -> Iterator[AttentionItem]:
    for each in alerts.firing if alerts else ():
        if each.state == "firing":
            yield AttentionItem(each.tone, each.name, each.summary, "/alerts", "Alerts")


def _failures(sums: Sequence[Sums]) -> Iterator[AttentionItem]:
    ended = sum(each.jobs for each in sums)
    failed = {status: sum(each.jobs for each in sums if each.group["status"] == status) for status in UNANSWERED}
    part = sum(failed.values()) / ended if ended else 0.0
    if part >= FAILED_PART:
        most = max(UNANSWERED, key=lambda status: failed[status])
        text = f"{sum(failed.values()):,} of the {ended:,} that ended today failed or expired, {part:.1%}."
        yield AttentionItem("bad" if part >= BAD_PART else "fair", "Jobs", text, f"/jobs?status={most}", "Jobs")


def _letters(seen: Seen, last: DeadLetter | None) -> Iterator[AttentionItem]:
    if last is not None and seen.at - last.at <= LETTERS_SECONDS:
        kept = seen.status.streams.get(DEAD, 0)
        text = f"{kept:,} are kept, the last of {clock(last.at)}: {last.reason.replace('_', ' ')}."
        yield AttentionItem("fair", "Dead letters", text, "/dead-letters", "Dead letters")


def _promises(in_force: InForce | None) -> Iterator[AttentionItem]:
    for key, each in sorted(in_force.calibrations.items()) if in_force else ():
        if each.withdrawn is not None:
            tasks = "all other tasks" if key.family == ANY else key.family
            text = f"no longer keeps its promise for {tasks}: {each.withdrawn}."
            yield AttentionItem("fair", key.target, text, "/calibrations", "Calibrations")


def _ledger(behind: int | None) -> Iterator[AttentionItem]:
    if behind is not None and behind > LEDGER_LINES:
        yield AttentionItem(
            "fair", "The ledger", f"is {behind:,} lines behind its stream: jobs and money here are of before."
        )
