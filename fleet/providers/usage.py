"""Reads the tokens of a call from a provider's reply, if they are numbers of tokens at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.model.attempt import Usage


def usage_in(document: Any, inputs: tuple[str, ...], output: str) -> Usage:
    """Return the usage under these names; the first of `inputs` must be there, the others are added to it.

    The usage must not cost the answer: if any count is not a whole number from 0, none is believed, and the usage is
    unknown, which is 0 and 0. Whether that many tokens were possible is judged where the request is known.
    """
    if not isinstance(document, Mapping):
        return Usage()
    first, *more = inputs
    found = [document.get(first), document.get(output), *(document.get(name) or 0 for name in more)]
    counts = [count for count in found if type(count) is int and count >= 0]  # True is no number of tokens
    if len(counts) < len(found):
        return Usage()
    return Usage(counts[0] + sum(counts[2:]), counts[1])
