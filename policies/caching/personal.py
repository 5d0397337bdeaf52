"""Finds personal data that has a shape of its own: addresses, numbers of phones, cards, accounts and people.

Names have no such shape. So this is the last barrier and never the only one: what may be kept is decided by a list of
tasks, and text is kept only where, besides, nothing of this is found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# A pattern that begins with a set of characters is searched for thirty times as fast as one that begins with a
# condition or a choice. So what may not stand before the first character is said after it.

_EMAIL: Final = re.compile(r"@(?<=[\w.+-]@)[\w-]+\.\w")

_NUMBER: Final = re.compile(
    r"\d(?<!\w\d)(?:"
    r"[\d ()/.-]{7,}\d"  # phone, date with a time, long number
    r"|\d{3}-\d{2}-\d{2}(?!\w)|\d?[./]\d{1,2}[./]\d{2,4}(?!\w)"  # a day, such as that of a birth
    r"|\d{2}-\d{2}-\d{4}(?!\w)"  # US social security number
    r")"
)

_IPV4: Final = re.compile(r"\d(?<![\d.]\d)\d{0,2}(?:\.\d{1,3}){3}(?![\d.])")

_IBAN: Final = re.compile(r"[A-Z](?<!\w[A-Z])[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}")

_IPV6: Final = re.compile(r"[0-9A-Fa-f](?<!\w[0-9A-Fa-f])[0-9A-Fa-f]{0,3}(?::[0-9A-Fa-f]{0,4}){3,7}(?!\w)")

_SECRET: Final = re.compile(r"[spgxA](?<!\w[spgxA])(?:(?<=[sp])k|(?<=g)hp|(?<=x)ox[a-z]|(?<=A)KIA)[-_A-Za-z0-9]{12,}")

_SHAPES: Final = (_EMAIL, _NUMBER, _IPV4, _IBAN, _SECRET)

_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def is_personal(texts: Iterable[str], words: frozenset[str]) -> bool:
    """Return whether one of the texts holds something of a personal shape, or one of the `words` (lower case)."""
    text = "\n".join(texts)  # no shape goes on beyond a line
    if any(shape.search(text) for shape in _SHAPES) or (text.count(":") >= 3 and _IPV6.search(text)):
        return True
    text = text.lower()
    return any(word in text for word in words) and not words.isdisjoint(_WORD.findall(text))
