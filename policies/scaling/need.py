"""How many replicas a backlog and arrivals need: the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from policies.scaling.demand import Waiting

LEAST_WORK = 0.1
"""A replica is started only for work that keeps it busy for this part of the time its start takes."""

LINGER = 0.75
"""A replica that is there stays until those left would be used to this part of what calls for one more."""

COUNTLESS = 1e9
"""More than anybody has; what a division by next to nothing gives is no integer."""

WHOLE = 1e-9
"""What division leaves over is no replica."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is of a target: replicas that run, and that start and will be there in `warm_in_seconds`.

    One asked for now is there in `cold_seconds`. `tokens_per_second` is what each does with `batch_size` jobs at once.
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
        """Tokens that all of these can do by then."""
        later = max(0.0, seconds - self.warm_in_seconds)
        return self.tokens_per_second * (self.running * seconds + self.starting * later)

    def enough_of(self, tokens: float, seconds: float) -> int | None:
        """The fewest of these that do the tokens by then; None where all together do not."""
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
    """Replicas for what waits and for what comes in. `late` says that a start keeps no deadline, or is not worth it."""

    for_backlog: int
    for_arrivals: int
    late: bool = False

    @property
    def replicas(self) -> int:
        return max(self.for_backlog, self.for_arrivals)


@dataclass(frozen=True, slots=True)
class Stream:
    """What comes in, in tokens per second: in all, and that part which cannot wait for a start."""

    in_all: float = 0.0
    urgent: float = 0.0


def needed(lanes: Sequence[Waiting], stream: Stream, stock: Stock, headroom: float, utilisation: float) -> Need:
    """The fewest replicas that keep every lane's deadlines, and are used up to `utilisation` by what is urgent.

    Earliest deadlines first, so each lane waits for those before it as well. Those there have the share `headroom` of
    the time to a deadline. One that is not there yet has that share of what is left of it after a cold start, for a
    replica that comes in time may be worth a wait; where a start comes too late all that are there go on and none is
    started. No more than there are full batches: a batch in two halves is hardly faster.
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
    """Replicas for so many tokens, and whether more would be wanted if they came sooner."""
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


def _for_arrivals(stream: Stream, stock: Stock, utilisation: float) -> int:
    """None goes that would be started again soon: because all that comes in needs it, or because of noise."""
    rate = stock.tokens_per_second
    wanted = _ceil(stream.urgent, utilisation * rate) or 0
    kept = max(_ceil(stream.urgent, LINGER * utilisation * rate) or 0, _ceil(stream.in_all, rate) or 0)
    return max(wanted, min(stock.there, kept))


def _ceil(amount: float, per: float) -> int | None:
    """The fewest whole ones that make up `amount`; None where none of them does anything."""
    if amount <= 0:
        return 0
    return math.ceil(min(amount / per, COUNTLESS) - WHOLE) if per > 0 else None
