"""Simulated streams of calls that begin alike, and what marks cost there: by the fleet's rule and by others.

Prices are those of the beginning alone, in multiples of plain input. `fixed` knows each stream: it takes the cheapest
of never, always for five minutes and always for an hour, for each beginning where those differ for ever, else for all
alike. `hindsight` knows every call to come.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from fleet.providers.prompt_cache import LEAST_BYTES, PromptCache
from policies.caching.prompt import CachePrices, Life

PRICES = CachePrices(1.0, 0.1, {Life.MINUTES: 1.25, Life.HOUR: 2.0})
MANY = 2000
"""Calls with each beginning that comes for ever."""

Stream = Sequence[tuple[float, int]]
"""Calls: the second of each, and its beginning."""

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A stream. `lasting`: its beginnings come for ever, each in its own way, and can be learned one by one."""

    stream: Stream
    lasting: bool = True


def scenes(seed: int) -> Mapping[str, Scene]:
    """Return the streams, by name."""
    rng = random.Random(seed)
    by_chance = {
        f"every {gap} s by chance": Scene(_by_chance(rng, gap)) for gap in (10, 60, 300, 900, 1800, 3600, 20_000)
    }
    return {
        "each only once": Scene([(2.0 * number, number) for number in range(MANY)], lasting=False),
        "each for three turns": Scene(_turns(rng, (3,)), lasting=False),
        "each for one to three turns": Scene(_turns(rng, (1, 1, 2, 3)), lasting=False),
        **by_chance,
        "every ten minutes": Scene(sorted((600.0 * number + one, one) for one in range(5) for number in range(MANY))),
        "five calls an hour": Scene(
            sorted((3600.0 * hour + 20 * call, one) for one in range(5) for hour in range(400) for call in range(5))
        ),
        "day and night": Scene(_day_and_night(rng)),
        "300 by Zipf's law": Scene(_by_zipf(rng)),
        "one often, others once": Scene(
            sorted([*_one_by_chance(rng, 20.0, 0, MANY), *((20.0 * number, number) for number in range(1, MANY))])
        ),
    }


def _one_by_chance(rng: random.Random, gap: float, beginning: int, calls: int) -> Iterator[tuple[float, int]]:
    at = 0.0
    for _ in range(calls):
        at += rng.expovariate(1 / gap)
        yield at, beginning


def _by_chance(rng: random.Random, gap: float) -> Stream:
    return sorted(each for one in range(5) for each in _one_by_chance(rng, gap, one, MANY))


def _turns(rng: random.Random, turns: Sequence[int]) -> Stream:
    starts = range(MANY)
    return sorted(
        (30.0 * one + turn * rng.uniform(20, 100), one) for one in starts for turn in range(rng.choice(turns))
    )


def _day_and_night(rng: random.Random) -> Stream:
    found = []
    for one in range(5):
        at = 0.0
        while at < 3 * DAY:
            at += rng.expovariate(0.0002 + 0.01 * (1 + math.sin(2 * math.pi * at / DAY)))
            found.append((at, one))
    return sorted(found)


def _by_zipf(rng: random.Random) -> Stream:
    """Return calls most of whose beginnings are rare: the hundredth comes every twenty minutes, the last every hour."""
    weights = [(rank + 1) ** -1.1 for rank in range(300)]
    at, found = 0.0, []
    for beginning in rng.choices(range(300), weights, k=10 * MANY):
        at += rng.expovariate(0.5)
        found.append((at, beginning))
    return found


def by_rule(stream: Stream, prices: CachePrices) -> float:
    """Return the price by the fleet's rule, each call answered before the next."""
    now = 0.0
    cache, kept, paid = PromptCache("m", prices, lambda: now), dict[int, tuple[float, Life]](), 0.0
    for at, beginning in stream:
        now = at
        begun = cache.begin("acme", beginning.to_bytes(8, "big") * (LEAST_BYTES // 8))
        assert begun is not None
        if begun.mark.life is None:
            paid += prices.plain
        else:
            until, life = kept.get(beginning, (-1.0, begun.mark.life))
            paid += prices.read if at <= until else prices.writes[begun.mark.life]
            life = life if at <= until else begun.mark.life
            kept[beginning] = (at + life.seconds, life)
        cache.end(begun, True)
    return paid


def fixed(scene: Scene, prices: CachePrices) -> float:
    """Return the price of the cheapest fixed choice."""
    groups = _by_beginning(scene.stream).values()
    if not scene.lasting:
        return min(sum(choice(times) for times in groups) for choice in _choices(prices))
    return sum(min(choice(times) for choice in _choices(prices)) for times in groups)


def _choices(prices: CachePrices) -> Iterator[Callable[[Sequence[float]], float]]:
    yield lambda times: prices.plain * len(times)
    for life in prices.writes:
        yield partial(_always, life, prices)


def _always(life: Life, prices: CachePrices, times: Sequence[float]) -> float:
    gaps = (after - before for before, after in pairwise(times))
    reads = sum(gap <= life.seconds for gap in gaps)
    return reads * prices.read + (len(times) - reads) * prices.writes[life]


def hindsight(stream: Stream, prices: CachePrices) -> float:
    """Return the least price there is: each run of calls is marked for the life that is cheapest, or not at all."""
    return sum(_least(times, prices) for times in _by_beginning(stream).values())


def _least(times: Sequence[float], prices: CachePrices) -> float:
    count = len(times)
    least = [0.0] * (count + 1)
    ends = {life: _ends(times, life) for life in prices.writes}
    for place in reversed(range(count)):
        marked = (
            prices.writes[life] + prices.read * (end[place] - place) + least[end[place] + 1]
            for life, end in ends.items()
        )
        least[place] = min(prices.plain + least[place + 1], *marked)
    return least[0]


def _ends(times: Sequence[float], life: Life) -> list[int]:
    """Return for each call the last one of its run."""
    ends = list(range(len(times)))
    for place in reversed(range(len(times) - 1)):
        if times[place + 1] - times[place] <= life.seconds:
            ends[place] = ends[place + 1]
    return ends


def _by_beginning(stream: Stream) -> Mapping[int, list[float]]:
    found = defaultdict(list)
    for at, beginning in stream:
        found[beginning].append(at)
    return found
