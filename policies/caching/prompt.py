"""Decides where to mark the beginning of a prompt for a provider's cache: where what is read again pays for writing it.

A provider keeps the tools and the system prompt of a call if the call marks them. What it writes then costs more than
plain input, what a later call reads less, and each use keeps it for another life. A mark that nobody reads loses money:
it takes (write - plain) / (plain - read) reads to pay, 0.28 where a write costs 1.25 times plain input and a read 0.1
times, and 1.1 where a write costs twice as much.

Calls with one beginning come in runs: each comes within a life of the call before it. The first call of a run finds
nothing in the cache. It is marked if the run is expected to bring enough reads; every later call of a marked run is
marked, for it reads and writes nothing. What to expect comes from the runs that were seen, for each life by itself and
whether there were marks or not: `first` is how often a run had a second call, `more` how often it went on after that.
With these two chances the reads to come are first / (1 - more).

The first calls with a beginning know nothing of it, and go by all others: how often a new one came back. Until anything
is known, nothing is marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from fleet.model.target import Target, WireFormat

MEMORY = 64.0
"""Calls after which what was seen of a beginning counts a third as much."""

PRIOR = 1.0
"""The weight of what is known of all beginnings, in calls seen of the one."""

DOUBT = 4.0
"""Calls without a return that are assumed before any is seen."""

MOST_CHANCE = 0.999


class Life(StrEnum):
    """How long a provider keeps what was written, from its last use on, in the providers' words."""

    MINUTES = "5m"
    HALF_HOUR = "30m"
    HOUR = "1h"

    @property
    def seconds(self) -> float:
        return {Life.MINUTES: 300.0, Life.HALF_HOUR: 1800.0, Life.HOUR: 3600.0}[self]


class MarkReason(StrEnum):
    """The reason why a call is marked or not."""

    KEPT = "kept"
    """The beginning is in the cache: the call reads it."""
    PAYS = "pays"
    """It is not, and the calls expected after this one pay for writing it."""
    TOO_RARE = "too_rare"
    """It is not, and they do not."""
    BEING_WRITTEN = "being_written"
    """A call under way may be writing it; to write it twice never pays."""
    NO_PRICE = "no_price"
    """The catalogue states no prices by which it could pay, or the provider takes no marks."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The decision for one call: how long to keep its beginning, or None for no mark."""

    life: Life | None
    reason: MarkReason


@dataclass(frozen=True, slots=True)
class CachePrices:
    """The prices of input: plain, read from the cache, and written to it for each life. Only their ratios matter."""

    plain: float
    read: float
    writes: Mapping[Life, float] = field(default_factory=dict)

    def gain(self, life: Life, reads: float) -> float:
        """Return what a write that is read so often saves; negative if it costs more than it saves."""
        return reads * (self.plain - self.read) - (self.writes[life] - self.plain)


def cache_prices(target: Target, wire: WireFormat) -> CachePrices:
    """Return the prices at which a target's calls may be marked: those that the catalogue states, none guessed.

    OpenAI's own models take marks if their writes are dearer than plain input: those before gpt-5.6 do not.
    """
    plain, read = target.input_usd_per_million_tokens, target.cached_input_usd
    usual, for_an_hour = target.cache_write_usd_per_million_tokens, target.cache_write_1h_usd_per_million_tokens
    stated: dict[Life, float | None] = {}
    if wire is WireFormat.ANTHROPIC:
        stated = {Life.MINUTES: usual, Life.HOUR: for_an_hour}
    elif target.provider == "openai" and usual is not None and usual > plain:
        stated = {Life.HALF_HOUR: usual}
    writes = {life: price for life, price in stated.items() if price is not None}
    return CachePrices(plain, read, writes if read < plain else {})


class Reuse(NamedTuple):
    """How often runs went on: after their `firsts` calls, `seconds` times; after their `later` ones, `more` times."""

    firsts: float = 0.0
    seconds: float = 0.0
    later: float = 0.0
    more: float = 0.0

    def called(self, in_run: bool, memory: float = MEMORY) -> Reuse:
        """Return the counts with one more call, the first of a run or `in_run`; older ones count less."""
        kept = 1.0 - 1.0 / memory
        if in_run:
            return self._replace(later=self.later * kept + 1.0, more=self.more * kept)
        return self._replace(firsts=self.firsts * kept + 1.0, seconds=self.seconds * kept)

    def went_on(self, in_run: bool) -> Reuse:
        """Return the counts once a call that they have was followed by another of its run."""
        return self._replace(more=self.more + 1.0) if in_run else self._replace(seconds=self.seconds + 1.0)


NEVER = Reuse()


class Chances(NamedTuple):
    """The chance that a run has a second call, and that it goes on after each later one."""

    first: float
    more: float

    def reads(self, in_run: bool) -> float:
        """Return the reads to expect after this call."""
        return (self.more if in_run else self.first) / (1.0 - self.more)

    @property
    def runs(self) -> float:
        """The share of calls that are the first of a run, in the long run."""
        return (1.0 - self.more) / (1.0 - self.more + self.first)


def chances(own: Reuse, others: Reuse) -> Chances:
    """Return the chances of a beginning by what was seen of it, and of the others as far as that is little."""
    of_first = others.seconds / (others.firsts + DOUBT)
    of_more = others.more / (others.later + DOUBT)
    first = (own.seconds + PRIOR * of_first) / (own.firsts + PRIOR)
    more = (own.more + PRIOR * of_more) / (own.later + PRIOR)
    return Chances(first, min(MOST_CHANCE, more))


class Expected(NamedTuple):
    """What is expected of a beginning for one life; the call to decide on is the first of a run unless `in_run`."""

    chances: Chances
    in_run: bool


def mark(expected: Mapping[Life, Expected], prices: CachePrices, kept: Life | None, being_written: bool) -> Mark:
    """Decide on a call whose beginning is `kept` in the cache (None: it is not), or may just be written."""
    if not prices.writes:
        return Mark(None, MarkReason.NO_PRICE)
    if being_written:
        return Mark(None, MarkReason.BEING_WRITTEN)
    if kept is not None:
        return Mark(kept, MarkReason.KEPT)
    best, most = None, 0.0
    for life in prices.writes:
        found, in_run = expected[life]
        if prices.gain(life, found.reads(in_run)) <= 0:
            continue
        # A longer life makes fewer runs of the same calls: what counts is the gain of a call, not of a run.
        worth = found.runs * prices.gain(life, found.reads(False))
        if best is None or worth > most:
            best, most = life, worth
    return Mark(best, MarkReason.TOO_RARE if best is None else MarkReason.PAYS)
