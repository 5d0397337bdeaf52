"""Describes how an adapter is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deployments.profiles import RANKS
from fleet.model.errors import ConfigError

MODULES: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

MOST_SEED: Final = 2**32 - 1
MOST_BATCH: Final = 4096


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of a training.

    `rank` is the number of directions in which each module is adapted, `alpha` over `rank` how strongly. The learning
    rate rises over the first twentieth of the `steps` and falls linearly to nothing. A step learns from `batch`
    examples, `at_once` of them at a time: less memory, same result but for rounding.
    """

    rank: int = 16
    alpha: int = 32
    rate: float = 1e-3
    steps: int = 300
    batch: int = 32
    at_once: int = 32
    seed: int = 0

    def check(self) -> None:
        """Raise ConfigError naming the option that is wrong."""
        if self.rank not in RANKS:
            raise ConfigError(
                "--rank", f"must be one of {', '.join(map(str, RANKS))}, for which the engine has kernels"
            )
        if not 0.0 < self.rate < 1.0:
            raise ConfigError("--rate", "must be above 0 and below 1")
        if not 0 <= self.seed <= MOST_SEED:
            raise ConfigError("--seed", f"must be from 0 to {MOST_SEED:,}")
        if self.batch > MOST_BATCH:
            raise ConfigError("--batch", f"must be at most {MOST_BATCH:,}")
        if self.batch % self.at_once:
            raise ConfigError("--at-once", f"must divide the batch of {self.batch}")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rising = max(1, self.steps // 20)
        return self.rate * min((step + 1) / rising, (self.steps - step) / max(1, self.steps - rising))
