"""A timeline of the run: a row for every moment at which something had changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from benchmarks.autoscaler.engine import TARGET

DECISION: Final = re.compile(
    rf"(\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}}) .*scaling target={TARGET} from=(\d+) to=(\d+) reason=(\w+)"
)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision by the fleet's rules; `at` is unix seconds."""

    at: float
    before: int
    after: int
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """The state at one moment. `machines` are pretend ones whose raylet lives, `waiting` are jobs without an answer."""

    seconds: float
    wanted: int
    running: int
    machines: int
    waiting: int
    answered: int
    reason: str
    event: str = ""

    @property
    def shape(self) -> tuple[object, ...]:
        """The part of a row whose change is worth a new row."""
        return (self.wanted, self.running, self.machines, self.reason)


def decisions(controller_log: str) -> list[Decision]:
    """Return the decisions that the policy logged in Serve's controller, a line for each change."""
    found = (match.groups() for match in map(DECISION.search, controller_log.splitlines()) if match)
    return [Decision(_unix(at), int(before), int(after), reason) for at, before, after, reason in found]


def _unix(logged: str) -> float:
    return datetime.strptime(logged, "%Y-%m-%d %H:%M:%S,%f").astimezone(UTC).timestamp()


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    yield "| seconds | replicas wanted | running | GPU machines | jobs waiting | answered | reason | |"
    yield "|---:|---:|---:|---:|---:|---:|---|---|"
    for row in rows:
        numbers = (row.wanted, row.running, row.machines, row.waiting, row.answered)
        cells = (f"{row.seconds:.1f}", *(f"{number:,}" for number in numbers), row.reason, row.event)
        yield f"| {' | '.join(cells)} |"
