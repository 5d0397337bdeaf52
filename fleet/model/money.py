"""Money set aside and money spent: whole nano-dollars (1e-9 USD), so that sums are exact in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


class Refusal(Enum):
    """The reason why no money is set aside: BUSY if only open reservations are in the way, EMPTY if it is spent."""

    BUSY = auto()
    EMPTY = auto()


@dataclass(frozen=True, slots=True)
class Account:
    """The spending of the fleet, or of one tenant, on one UTC day, in nano-dollars.

    `open` is what is reserved and not settled yet, by the unix minute it was reserved in.
    """

    spent: int = 0
    open: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """Money one call may need, and the limits of the day it must fit into; `tenant_limit` None: no limit."""

    tenant: str
    nano: int
    fleet_limit: int
    tenant_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside at `at` (unix seconds); it belongs to that UTC day, whenever it is settled."""

    tenant: str
    nano: int
    at: float


@dataclass(frozen=True, slots=True)
class Offer:
    """The maximum cost of a call that reads at most `input_tokens` and writes at most `output_tokens`."""

    nano: int
    output_tokens: int
    input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Deposit:
    """The money set aside for a call that the fleet pays, and what it covers (`input_tokens` None: the context)."""

    reservation: Reservation
    output_tokens: int
    input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class MoneyView:
    """The money known to be spent today, in nano-dollars. Others may have spent more since; nobody has spent less."""

    fleet: int = 0
    tenants: Mapping[str, int] = field(default_factory=dict)
