"""The arithmetic of the replicas that a backlog and arrivals need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.scaling.demand import LaneBacklog

LEAST_WORK = 0.1
"""Part of its start's time for which a replica must have work to be started."""

LINGER = 0.75
"""Part of the load that calls for one more replica: one is stopped only if those left would stay below it."""

COUNTLESS = 1e9
"""A cap on replicas, more than anybody has: a division by next to nothing gives no integer."""

WHOLE = 1e-9
"""A rest of division up to which no replica is added."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The replicas of a target: those that run, and those that start and will be there in `warm_in_seconds`.

    A new one is there in `cold_seconds`. `tokens_per_second` is what each does with `batch_size` jobs at once.
    """

    running: int
    starting: int
    warm_in_seconds: float
    cold_seconds: float
    tokens_per_second: float
    batch_size: int

    @property
    def there(self) -> int:
        return self.running + self.starting

    def done_by(self, seconds: float) -> float:
        """Return the tokens that all of these replicas can do by then."""
        later = max(0.0, seconds - self.warm_in_seconds)
        return self.tokens_per_second * (self.running * seconds + self.starting * later)

    def enough_of(self, tokens: float, seconds: float) -> int | None:
        """Return the minimum of these replicas that do the tokens by then; None where all together do not."""
        of_running = _ceil(tokens, self.tokens_per_second * seconds)
        if of_running is not None and of_running <= self.running:
            return of_running
        rest = tokens - self.running * self.tokens_per_second * seconds
        of_starting = _ceil(rest, self.tokens_per_second * (seconds - self.warm_in_seconds))
        if of_starting is None or of_starting > self.starting:
            return None
        return self.running + of_starting


@dataclass(frozen=True, slots=True)
class Need:
    """Replicas for what waits and for what arrives. `late`: a start keeps no deadline, or is not worth it."""

    for_backlog: int
    for_arrivals: int
    late: bool = False

    @property
    def replicas(self) -> int:
        return max(self.for_backlog, self.for_arrivals)


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Arrivals in tokens per second: in all, and the part that cannot wait for a start."""

    in_all: float = 0.0
    urgent: float = 0.0


def needed(lanes: Sequence[LaneBacklog], stream: TokenRates, stock: Stock, headroom: float, utilisation: float) -> Need:
    """Return the minimum replicas that keep all deadlines, with urgent arrivals using them up to `utilisation`.

    Earliest deadlines run first, so each lane waits for those before it as well. Present replicas have the share
    `headroom` of the time to a deadline. A new one has that share of what is left of it after a cold start, for a
    replica that comes in time may be worth a wait; where a start comes too late the present ones continue and none is
    started. There are never more than full batches: a batch in two halves is hardly faster.
    """
    tokens = jobs = 0.0
    most, late = 0, False
    for lane in sorted(lanes, key=lambda lane: lane.slack_seconds):
        if lane.jobs <= 0:
            continue
        tokens, jobs = tokens + lane.tokens, jobs + lane.jobs
        replicas, in_vain = _for_prefix(tokens, lane.slack_seconds, stock, headroom)
        most, late = max(most, replicas), late or in_vain
    batches = max(1, _ceil(jobs, stock.batch_size) or 0)
    return Need(min(most, batches), _for_arrivals(stream, stock, utilisation), late or most > batches)


def _for_prefix(tokens: float, slack_seconds: float, stock: Stock, headroom: float) -> tuple[int, bool]:
    """Return replicas for so many tokens, and whether more would be wanted if they came sooner."""
    enough = stock.enough_of(tokens, headroom * slack_seconds)
    if enough is not None:
        return enough, False
    left_seconds = slack_seconds - stock.cold_seconds
    if left_seconds <= 0:
        return stock.there, True
    window_seconds = max(headroom * left_seconds, LEAST_WORK * stock.cold_seconds)
    rest = tokens - stock.done_by(stock.cold_seconds + window_seconds)
    more = _ceil(rest, stock.tokens_per_second * window_seconds) or 0
    return stock.there + more, more == 0


def _for_arrivals(stream: TokenRates, stock: Stock, utilisation: float) -> int:
    """Return replicas for the arrivals; none is stopped that all arrivals, or noise, would soon start again."""
    rate = stock.tokens_per_second
    wanted = _ceil(stream.urgent, utilisation * rate) or 0
    kept = max(_ceil(stream.urgent, LINGER * utilisation * rate) or 0, _ceil(stream.in_all, rate) or 0)
    return max(wanted, min(stock.there, kept))


def _ceil(amount: float, per: float) -> int | None:
    """Return the minimum whole units that make up `amount`; None where a unit does nothing."""
    if amount <= 0:
        return 0
    return math.ceil(min(amount / per, COUNTLESS) - WHOLE) if per > 0 else None
