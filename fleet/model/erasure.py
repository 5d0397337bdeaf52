"""An erasure: what was destroyed of the ledger's lines, said without naming whose they were."""

from __future__ import annotations

from dataclasses import dataclass

ERASURE = "erasure"
"""The key of a record's line among those of its job, and of what it says in its bytes."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erasure `id` emptied so many `rows` of the ledger, the `first` and `last` of which have these numbers.

    `tenant` is their tenant afterwards: the erasure's id where the tenant was erased. `digest` is the SHA-256, in
    hexadecimal, of all the rows' numbers, one a line.
    """

    id: str
    tenant: str
    rows: int
    first: int
    last: int
    digest: str
