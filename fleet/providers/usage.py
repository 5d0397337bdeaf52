"""What a provider says of the tokens of a call, as far as it is a number of tokens at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.model.attempt import Usage


def usage_in(document: Any, inputs: tuple[str, ...], output: str) -> Usage:
    """The usage under these names; the first of `inputs` must be there, the others are added to it.

    An answer is not lost for its bill: where any of it is no whole number from 0, nothing of it is believed, and the
    usage is unknown, which is 0 and 0. Whether so much was possible at all is judged where the request is known.
    """
    if not isinstance(document, Mapping):
        return Usage()
    first, *more = inputs
    found = [document.get(first), document.get(output), *(document.get(name) or 0 for name in more)]
    counts = [count for count in found if type(count) is int and count >= 0]  # True is no number of tokens
    if len(counts) < len(found):
        return Usage()
    return Usage(counts[0] + sum(counts[2:]), counts[1])
