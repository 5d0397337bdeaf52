"""Writes a value as canonical JSON (RFC 8785): equal values become equal bytes, whatever their order of fields."""

from __future__ import annotations

from typing import Any, Final

import rfc8785
from pydantic_core import to_json

LARGEST_INTEGER: Final = 2**53 - 1
"""Larger ones are no numbers of canonical JSON."""

PLAIN: Final = (1e-4, 1e15)
"""Between these, a fraction is written the same by everybody: its shortest digits, without an exponent."""


class _Rare(ValueError):
    """A value that is left to `rfc8785`, which knows all and takes five times as long."""


def canonical(value: Any) -> bytes:
    """Return the value as canonical JSON.

    Raises: rfc8785.CanonicalizationError, TypeError or UnicodeEncodeError if it has none.
    """
    try:
        return to_json(_ordered(value))
    except (ValueError, TypeError):
        return rfc8785.dumps(value)


def _ordered(value: Any) -> Any:
    """Return a value that `to_json` writes as canonical JSON. Raises: _Rare, or TypeError for a key that is no text."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        if not "".join(value).isascii():
            raise _Rare  # the order is that of UTF-16
        found = {}
        for name in sorted(value):
            each = value[name]
            found[name] = each if type(each) is str else _ordered(each)  # most are
        return found
    if kind is list or kind is tuple:
        return [_ordered(each) for each in value]
    if kind is int and -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        return value
    if kind is float and value.is_integer() and -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        return int(value)
    if kind is float and PLAIN[0] <= abs(value) < PLAIN[1]:
        return value
    raise _Rare
