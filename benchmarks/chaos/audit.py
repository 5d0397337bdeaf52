"""Audits a run: what was accepted, answered, recorded and charged, and whether the sums agree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.chaos.children import TENANT, batch
from policies.rules.rules import Rules
from queues.jetstream.client.connection import connect
from queues.jetstream.stores.journal import recorded
from queues.wire.subjects import DEAD, LEDGER, RESULTS, STARTS


@dataclass(frozen=True, slots=True)
class Books:
    """The contents of the streams. `results` are counted by job id; `calls`, paid calls on record, by job, target and
    call number; `shown` counts lines of the ledger that say repeated or interrupted, by job and target.
    """

    results: Counter[str]
    statuses: Counter[str]
    calls: Counter[tuple[str, str, int]]
    lines: Counter[tuple[str, str]]
    shown: Counter[tuple[str, str]]
    dead: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """The ids of jobs that were lost or have two results; for each charge too many, the time of the first charge."""

    lost: tuple[str, ...]
    duplicates: tuple[str, ...]
    doubled_at: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of a run. `double_charges` are charges beyond the first of a job on a target.

    By the rule each has a second record of its attempt; `beyond_rule` counts those without one, and
    `unrecorded` charges without any record. `not_in_ledger` counts those that only the records show: the dispatcher of
    the second call died while the first one's, alive after all, brought the job to its end.
    """

    jobs: int
    results: int
    lost: int
    duplicates: int
    strangers: int
    charges: int
    repeated: int
    double_charges: int
    beyond_rule: int
    unrecorded: int
    not_in_ledger: int
    dead: int
    statuses: Mapping[str, int] = field(default_factory=dict)

    @property
    def balances(self) -> bool:
        wrong = (self.lost, self.duplicates, self.strangers, self.beyond_rule, self.unrecorded)
        return not any(wrong) and self.jobs == self.results


async def read_books(url: str) -> Books:
    connection = await connect(url, name="chaos-audit")
    try:
        results: Counter[str] = Counter()
        statuses: Counter[str] = Counter()
        async for message in recorded(connection, RESULTS):
            results[message.subject.removeprefix(f"results.{TENANT}.")] += 1
            statuses[json.loads(message.data)["status"]] += 1
        calls: Counter[tuple[str, str, int]] = Counter()
        async for message in recorded(connection, STARTS):
            start = json.loads(message.data)
            if "call" in start:  # beside calls, STARTS keeps which messages were opened with care
                calls[start["id"], start["target"], start["call"]] += 1
        lines: Counter[tuple[str, str]] = Counter()
        shown: Counter[tuple[str, str]] = Counter()
        async for message in recorded(connection, LEDGER):
            entry = json.loads(message.data)
            attempt = entry["attempt"]
            if attempt is not None:
                key = (entry["id"], attempt["target"])
                lines[key] += 1
                interrupted = attempt.get("failure", {}).get("kind") == "interrupted"
                shown[key] += attempt["repeated"] or interrupted
        dead = len([message async for message in recorded(connection, DEAD)])
        return Books(results, statuses, calls, lines, shown, dead)
    finally:
        await connection.close()


def judge(
    books: Books, charges: Mapping[tuple[str, str], Sequence[float]], batches: int, rules: Rules
) -> tuple[Verdict, Trouble]:
    """Judge a run: `charges` are their times by job and model, as the provider noted them; `batches` were accepted."""
    accepted = {submission.id for number in range(batches) for submission in batch(number)}
    targets = {target.model: target.name for target in rules.catalogue.targets.values()}
    charged = {(job, targets[model]): len(times) for (job, model), times in charges.items()}
    second = {key: books.calls[*key, 2] for key in charged}
    first = {key: books.calls[*key, 1] for key in charged}
    doubled = {key: count - 1 for key, count in charged.items() if count > 1}
    verdict = Verdict(
        jobs=len(accepted),
        results=sum(books.results.values()),
        lost=len(accepted - books.results.keys()),
        duplicates=sum(count - 1 for count in books.results.values()),
        strangers=len(books.results.keys() - accepted),
        charges=sum(charged.values()),
        repeated=sum(count for (_, _, call), count in books.calls.items() if call == 2),
        double_charges=sum(doubled.values()),
        beyond_rule=sum(max(0, extra - second[key]) for key, extra in doubled.items()),
        unrecorded=sum(max(0, count - first[key] - second[key]) for key, count in charged.items()),
        not_in_ledger=sum(max(0, extra - books.shown[key]) for key, extra in doubled.items()),
        dead=books.dead,
        statuses=dict(books.statuses),
    )
    trouble = Trouble(
        lost=tuple(accepted - books.results.keys()),
        duplicates=tuple(job for job, count in books.results.items() if count > 1),
        doubled_at=tuple(times[0] for times in charges.values() for _ in times[1:]),
    )
    return verdict, trouble
