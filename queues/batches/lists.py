"""The list of a tenant's ids, an entry like any other: a tenant with an account of its own can list no keys."""

from __future__ import annotations

from queues.batches.shelf import Shelf, rewrite
from queues.wire.batches.records import Listed, decode_list, encode_list
from queues.wire.subjects import list_key

KEPT_SECONDS = 30 * 24 * 3600.0
"""Seconds that a file, a batch and its entries are kept."""


async def add_to_list(shelf: Shelf, tenant: str, kind: str, id: str, now: float) -> None:
    """Put the id at the end of the list, once, and forget the ids of what is too old to be there."""

    def with_id(there: bytes) -> bytes | None:
        listed = _readable(there)
        if any(each.id == id for each in listed):
            return None
        return encode_list([*(each for each in listed if each.created_at > now - KEPT_SECONDS), Listed(id, now)])

    await rewrite(shelf, list_key(tenant, kind), with_id)


async def remove_from_list(shelf: Shelf, tenant: str, kind: str, id: str) -> None:
    def without_id(there: bytes) -> bytes | None:
        listed = _readable(there)
        kept = [each for each in listed if each.id != id]
        return None if len(kept) == len(listed) else encode_list(kept)

    await rewrite(shelf, list_key(tenant, kind), without_id)


async def ids_in_list(shelf: Shelf, tenant: str, kind: str) -> list[str]:
    """Return the ids, newest first. An id is there before what it names, and may be there after it."""
    [cell] = await shelf.entries([list_key(tenant, kind)])
    return [each.id for each in reversed(_readable(cell.value))]


def _readable(body: bytes) -> list[Listed]:
    try:
        return decode_list(body)
    except ValueError:
        return []  # a tenant's own doing, and its own list
