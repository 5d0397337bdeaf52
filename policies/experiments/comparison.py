"""A comparison of two arms that may be looked at after every job: an e-process, by betting.

The bet is against "the candidate's mean is at most the control's". If that holds, the stake of 1 ever reaches 1 / alpha
with a chance of at most alpha, however often one looks (Ville's inequality). Nothing is assumed of the values but that
they lie in [0, 1] and that jobs that arrive at about the same time would have the same mean in one arm: which arm comes
when, and how the mean moves from day to day, does not matter.

Jobs are taken in blocks of some candidates and some controls, about as many of each as arrive. Within a block the bet
on a candidate's value y is 1 + a(y - c), that on a control's 1 - b(y - c), where c is the mean expected and a x
candidates = b x controls. With equal means x + c the expectation of their product is (1 + ax)^candidates x
(1 - bx)^controls <= exp(0) = 1 (Turner, Ly & Grünwald 2024 bet in such blocks on proportions).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from operator import mul
from types import MappingProxyType
from typing import Final

EFFECTS: Final[Mapping[float, float]] = MappingProxyType({0.01: 0.1, 0.03: 0.25, 0.06: 0.35, 0.12: 0.2, 0.3: 0.1})
"""Differences between the arms to bet on, each with its share of the stake."""

MOST_WAITING: Final = 10_000
"""Maximum values of one arm that wait for the other's; the oldest go."""

LARGEST_BLOCK: Final = 50
"""Maximum values of one arm that are compared with one value of the other."""

EXPECTED: Final = 0.05
"""The mean of what is rare, before anything is seen."""

_PRIOR_WEIGHT: Final = 20.0
"""Number of values that what was expected counts as."""

_MOST_OF_STAKE: Final = 0.9
"""Share of the stake that one value can lose at most, so that one surprise never ends the betting."""


class Comparison:
    """The bets that one arm's mean is above another's; `tolerance` is how far it may be above (below, if negative)."""

    __slots__ = ("_effects", "_squares", "_sum", "_wealth", "_weight", "candidates", "controls", "highest", "tolerance")

    def __init__(
        self, tolerance: float = 0.0, effects: Mapping[float, float] = EFFECTS, expected: float = EXPECTED
    ) -> None:
        """Begin to bet; `expected` is the control's mean as long as nothing is known of it."""
        self.tolerance = tolerance
        self._effects = tuple(effects)
        self._wealth = list(effects.values())
        self.candidates = Sample()
        self.controls = Sample()
        self._weight, self._sum = _PRIOR_WEIGHT, _PRIOR_WEIGHT * expected
        self._squares = self._sum
        self.highest = 1.0
        """The most that the stake of 1 has been worth so far."""

    @property
    def evidence(self) -> float:
        """What the stake of 1 is worth now."""
        return math.fsum(self._wealth)

    def add(self, value: float, is_control: bool) -> None:
        """Take in a value, and settle the blocks that are complete. Raises: ValueError unless it is in [0, 1].

        The sizes of blocks follow from which arm came when, and from no value.
        """
        (self.controls if is_control else self.candidates).add(value)
        while True:
            candidates, controls = self._sizes()
            if len(self.candidates.waiting) < candidates or len(self.controls.waiting) < controls:
                return
            self._bet(self.candidates.take(candidates), self.controls.take(controls))

    def _sizes(self) -> tuple[int, int]:
        """Return how many candidates and controls the next block has."""
        ratio = max(self.controls.n, 1) / max(self.candidates.n, 1)
        if ratio >= 1.0:
            return 1, min(round(ratio), LARGEST_BLOCK)
        return min(round(1.0 / ratio), LARGEST_BLOCK), 1

    def _bet(self, candidates: list[float], controls: list[float]) -> None:
        self._wealth = list(map(mul, self._wealth, self._factors(candidates, controls)))
        self.highest = max(self.highest, self.evidence)
        self._weight += len(controls)
        self._sum += math.fsum(controls)
        self._squares += math.fsum(value * value for value in controls)

    def block(self, candidates: list[float], controls: list[float]) -> float:
        """Return what the stake would be worth after a block of these values, over what it is worth now."""
        factors = self._factors(candidates, controls)
        return math.fsum(map(mul, self._wealth, factors)) / self.evidence

    def _factors(self, candidates: list[float], controls: list[float]) -> list[float]:
        mean = self._sum / self._weight
        # 1 for values that are 0 or 1; less for values that spread less, on which more can be staked.
        spread = max((self._squares / self._weight - mean * mean) / (mean * (1.0 - mean)), 0.01)
        share = len(controls) / (len(candidates) + len(controls))
        return [self._product(candidates, controls, mean, spread, effect, share) for effect in self._effects]

    def _product(
        self, candidates: list[float], controls: list[float], mean: float, spread: float, effect: float, share: float
    ) -> float:
        """Return what a block makes of a stake that bets on this effect; `share` is that of controls in the block."""
        centre = min(mean + effect * (1.0 - share), 0.5 + mean / 2.0)
        scale = effect / (spread * centre * (1.0 - centre))
        zero = centre + self.tolerance
        up, down = scale * share, scale * (1.0 - share)
        risk = max(up * zero, up * (zero - 1.0), down * (1.0 - centre))
        if risk > _MOST_OF_STAKE:
            up, down = up * _MOST_OF_STAKE / risk, down * _MOST_OF_STAKE / risk
        product = 1.0
        for value in candidates:
            product *= 1.0 + up * (value - zero)
        for value in controls:
            product *= 1.0 - down * (value - centre)
        return product


class Sample:
    """What is known of one arm: how many values, their sum, and those that wait for the other arm's."""

    __slots__ = ("n", "total", "waiting")

    def __init__(self) -> None:
        self.n = 0
        self.total = 0.0
        self.waiting: deque[float] = deque(maxlen=MOST_WAITING)

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    def add(self, value: float) -> None:
        """Take in a value. Raises: ValueError unless it is in [0, 1]."""
        if not 0.0 <= value <= 1.0:
            raise ValueError("value: must be in [0, 1]")
        self.n += 1
        self.total += value
        self.waiting.append(value)

    def take(self, count: int) -> list[float]:
        """Return the oldest values that wait, so many; they wait no more."""
        return [self.waiting.popleft() for _ in range(count)]
