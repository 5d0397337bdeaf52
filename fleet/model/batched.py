"""A call in a batch of a provider's own, and what was seen of such batches."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.model.attempt import Outcome
from fleet.model.money import Deposit


@dataclass(frozen=True, slots=True)
class Batched:
    """A call that is in the batch `name`, begun at `begun_at` (unix seconds) with `size` rows.

    `outcome` is None while the batch runs. `deposit` is the money that was set aside when it was sent, for whoever is
    given the outcome first.
    """

    name: str
    begun_at: float
    size: int
    deposit: Deposit | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """A piece of work that took `seconds`; not `ended`: it had run so long when it was last seen, or given up."""

    seconds: float
    ended: bool
