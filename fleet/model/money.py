"""Money quoted, reserved and spent. Inside the fleet it is whole nano-dollars; US dollars stand at its edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

NanoUsd = int
"""Whole nano-dollars (1e-9 USD), so that sums are exact in any order."""


class Refusal(Enum):
    """The reason why no money is set aside: BUSY if only open reservations are in the way, EMPTY if it is spent."""

    BUSY = auto()
    EMPTY = auto()


@dataclass(frozen=True, slots=True)
class Account:
    """The spending of the fleet, or of one tenant, on one UTC day.

    `open` is what is reserved and not settled yet, by the unix minute it was reserved in.
    """

    spent: NanoUsd = 0
    open: Mapping[int, NanoUsd] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quote:
    """The maximum cost of a call that reads at most `input_tokens` and writes at most `output_tokens`."""

    cost: NanoUsd
    output_tokens: int
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for a reservation, with the limits of the day it must fit into; `tenant_limit` None: no limit."""

    tenant: str
    amount: NanoUsd
    fleet_limit: NanoUsd
    tenant_limit: NanoUsd | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside at `at` (unix seconds); it belongs to that UTC day, whenever it is settled."""

    tenant: str
    amount: NanoUsd
    at: float


@dataclass(frozen=True, slots=True)
class Deposit:
    """The money set aside for a call that the fleet pays, and the quote it covers."""

    reservation: Reservation
    quote: Quote


@dataclass(frozen=True, slots=True)
class MoneyView:
    """The money known to be spent today. Others may have spent more since; nobody has spent less."""

    fleet: NanoUsd = 0
    tenants: Mapping[str, NanoUsd] = field(default_factory=dict)
