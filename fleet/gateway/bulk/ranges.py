"""Reads the header `Range`, as RFC 9110 says: one range of bytes; anything else asks for the whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Slice:
    """The bytes from `start` to before `end`."""

    start: int
    end: int
    is_partial: bool = True


def slice_of(header: str | None, size: int) -> Slice | None:
    """Return the part of `size` bytes that the header asks for; None if none of it is there.

    Several ranges, other units and what is no range are ignored, as a server may: the answer is the whole.
    """
    found = None if header is None else _RANGE.fullmatch(header)
    if found is None or not (found[1] or found[2]):
        return Slice(0, size, is_partial=False)
    if not found[1]:  # the last bytes
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < int(found[1]):
            return Slice(0, size, is_partial=False)
    return Slice(start, end) if start < end else None
