"""Accounts of a few days, in a database that the ledger's own store has written, and rules with round prices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from ledger_lines import NOON, line_of
from sqlalchemy import delete

from fleet.ledger.archive import archive_closed_days
from fleet.ledger.database import database_url, engine_for
from fleet.ledger.store import LedgerStore
from fleet.ledger.tables import days, entries
from fleet.model.attempt import Answer, Attempt, Cached, Failure, FailureKind, Usage
from fleet.model.calibration import Probe
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry, Status
from fleet.reports.books import ReportBooks
from fleet.reports.periods import Period
from fleet.settings.documents import load_rules, shipped
from policies.rules.rules import Rules

DAY_SECONDS = 86_400.0
FIRST = "2026-03-01"
ALL = Period("2026-01-01", "2026-12-31")

PRICES = {"small": (0.1, 1.0), "large": (1.0, 10.0), "mini": (0.2, 2.0), "big": (2.0, 20.0)}
"""Dollars per million tokens of input and output; `small` and `large` are the fleet's own."""

OWN = frozenset({"small", "large"})

TOKENS = Usage(1000, 100)
"""The tokens of a call unless something else is said."""


def nano(target: str, input_tokens: int, output_tokens: int) -> int:
    """The price of a call: a dollar per million tokens is a thousand nano-dollars a token."""
    of_input, of_output = PRICES[target]
    return round(1000 * (input_tokens * of_input + output_tokens * of_output))


def catalogue_file(folder: Path, as_of: str | None = "2026-11") -> Path:
    targets = [
        {
            "name": name,
            "provider": "fleet" if name in OWN else "openai",
            "model": f"{name}-model",
            "input_usd_per_million_tokens": PRICES[name][0],
            "output_usd_per_million_tokens": PRICES[name][1],
            "context_tokens": 8192,
            "capabilities": ["text"],
            "latency": "fast",
            "max_in_flight": 8,
        }
        for name in PRICES
    ]
    targets[2]["cached_input_usd_per_million_tokens"] = 0.05
    targets[3] |= {"provider": "anthropic", "cache_write_1h_usd_per_million_tokens": 4.0}
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"targets": targets} | ({"prices_as_of": as_of} if as_of else {})))
    return path


def rules_file(folder: Path) -> Path:
    document = yaml.safe_load(shipped("policies", "rules.yaml").read_text())
    ladder = ["small", "large", "mini", "big"]
    ladders = {"simple": ladder, "medium": ladder[1:], "complex": ladder[2:], "critical": ["big"], "vision": ["big"]}
    document |= {"phase": "only", "phases": {"only": ladders}}
    document["confidence"]["priors"] = {}
    document["plans"]["free"]["providers"] = ["fleet", "openai"]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def rules_in(folder: Path) -> Rules:
    return load_rules(rules_file(folder), catalogue_file(folder), "local")


def call(
    target: str,
    usage: Usage = TOKENS,
    cost_nano_usd: int | None = None,
    reason: Reason = Reason.ROUTED,
    probe: Probe | None = None,
    number: int = 1,
) -> Attempt:
    """A call that was answered; it costs what its tokens do, unless something else is said."""
    cost = nano(target, usage.input_tokens, usage.output_tokens) if cost_nano_usd is None else cost_nano_usd
    answer = Answer({}, "stop", usage, f"{target}-model")
    ran = Attempt(number, target, reason, NOON, NOON + 0.5, answer, confidence=0.9, cost_usd=cost / 1e9, probe=probe)
    return replace(ran, provider="fleet" if target in OWN else "openai")


def again(target: str, usage: Usage = TOKENS, job_id: str = "job-of-before-0123", at: float = NOON - 7200) -> Attempt:
    """An answer that `target` gave to another job, two hours before unless something else is said."""
    cached = Cached(job_id, target, at, usage)
    return Attempt(1, "exact", Reason.CACHED, NOON, NOON, Answer({}, "stop", Usage(), "m"), cached=cached)


def written(usage: Usage | None = TOKENS) -> Attempt:
    """An answer that is written down, for which a model would have taken these tokens."""
    return Attempt(1, "pattern", Reason.PATTERN, NOON, NOON, Answer({}, "stop", Usage(), "pattern"), avoided=usage)


def failed(target: str, cost_nano_usd: int = 0, number: int = 1) -> Attempt:
    failure = Failure(FailureKind.TIMEOUT, "too slow")
    return Attempt(number, target, Reason.ROUTED, NOON, NOON + 2, failure, cost_usd=cost_nano_usd / 1e9)


@dataclass(frozen=True)
class JobOf:
    """The jobs of a tenant, of one task and plan."""

    task: str = "classify.intent"
    tenant: str = "acme"
    plan: str = "paid"

    def lines(
        self, number: int, *attempts: Attempt, status: Status = Status.SUCCEEDED, reason: Reason = Reason.CONFIDENT
    ) -> Iterator[LedgerEntry]:
        """The lines of a job that ended with the last of these attempts."""
        for attempt in attempts[:-1]:
            yield self._line(number, attempt, None, Reason.LOW_CONFIDENCE)
        yield self._line(number, attempts[-1] if attempts else None, status, reason)

    def comparison(self, number: int, attempt: Attempt) -> LedgerEntry:
        return self._line(number, attempt, None, Reason.SHADOW)

    def _line(self, number: int, attempt: Attempt | None, status: Status | None, reason: Reason) -> LedgerEntry:
        return LedgerEntry(
            job_id_of(number),
            self.tenant,
            Lane.BULK,
            NOON,
            reason,
            self.task,
            self.plan,
            status,
            attempt,
            submitted_at=NOON,
        )


def job_id_of(number: int) -> str:
    return f"job-{number:012d}"


class Accounts:
    """The database; `book` adds lines to a day, counted from FIRST."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "ledger-days"
        folder.mkdir(exist_ok=True)
        self.engine = engine_for(database_url(f"sqlite:///{folder / 'ledger.sqlite3'}"))
        self._store = LedgerStore(self.engine, lambda: NOON + 1000 * DAY_SECONDS)
        self._store.open()
        self._sequence = 0

    def book(self, day: int, lines: Iterable[LedgerEntry]) -> None:
        found = []
        for line in lines:
            self._sequence += 1
            found.append(line_of(self._sequence, line, NOON + day * DAY_SECONDS))
        if found:
            self._store.write(found)

    def archive(self) -> list[str]:
        return archive_closed_days(self.engine, self.folder)

    def forget(self) -> None:
        """Delete the rows of days that are in the archive, as retention does in the end."""
        with self.engine.begin() as connection:
            archived = days.c.parquet.is_not(None)
            connection.execute(
                delete(entries).where(entries.c.day.in_(days.select().with_only_columns(days.c.day).where(archived)))
            )

    def books(self, tenant: str | None = None) -> ReportBooks:
        return ReportBooks(self.engine, self.folder, tenant)
