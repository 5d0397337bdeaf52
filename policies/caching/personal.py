"""Finds personal data that has a shape of its own: addresses, numbers of phones, cards, accounts and people.

Names have no such shape. So this is the last barrier and never the only one: what may be kept is decided by a list of
tasks, and text is kept only where, besides, nothing of this is found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# A pattern that begins with a set of characters is searched for thirty times as fast as one that begins with a
# condition or a choice. So what may not stand before the first character is said after it, and all that has a digit
# in it is looked for at its digits, together. Of the rest, a part that is always the same is looked for first.
# In a text that is all ASCII, telling digits and letters takes half as long.

_EMAIL: Final = re.compile(r"@(?<=[\w.+-]@)[\w-]+\.\w")

_DIGITS: Final = (
    r"\d(?:"
    r"(?<!\w\d)(?:"
    r"[\d ()/.-]{7,}\d"  # phone, card, date with a time, long number
    r"|\d{3}-\d{2}-\d{2}(?!\w)|\d?[./]\d{1,2}[./]\d{2,4}(?!\w)"  # a day, such as that of a birth
    r"|\d{2}-\d{2}-\d{4}(?!\w)"  # US social security number
    r")"
    r"|(?<![\d.]\d)\d{0,2}(?:\.\d{1,3}){3}(?![\d.])"  # IPv4
    r"|(?<=[A-Z]{2}\d)(?<!\w[A-Z]{2}\d)\d(?: ?[A-Z0-9]{4}){2,7}"  # IBAN
    r")"
)

_NUMBER: Final = re.compile(_DIGITS)
_ASCII_NUMBER: Final = re.compile(_DIGITS, re.ASCII)

_IPV6: Final = re.compile(r"[0-9A-Fa-f](?<!\w[0-9A-Fa-f])[0-9A-Fa-f]{0,3}(?::[0-9A-Fa-f]{0,4}){3,7}(?!\w)")

_SECRET: Final = re.compile(r"[spgxA](?<!\w[spgxA])(?:(?<=[sp])k|(?<=g)hp|(?<=x)ox[a-z]|(?<=A)KIA)[-_A-Za-z0-9]{12,}")

_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def is_personal(texts: Iterable[str], words: frozenset[str]) -> bool:
    """Return whether one of the texts holds something of a personal shape, or one of the `words` (lower case)."""
    text = "\n".join(texts)  # no shape goes on beyond a line
    number = _ASCII_NUMBER if text.isascii() else _NUMBER
    if number.search(text) or _EMAIL.search(text) or (text.count(":") >= 3 and _IPV6.search(text)):
        return True
    return _has_secret(text) or _has_one(words, text.lower())


def _has_secret(text: str) -> bool:
    may_have = "sk" in text or "pk" in text or "ghp" in text or "xox" in text or "AKIA" in text
    return may_have and _SECRET.search(text) is not None


def _has_one(words: frozenset[str], text: str) -> bool:
    for word in words:  # a generator costs as much as the search
        if word in text:
            return not words.isdisjoint(_WORD.findall(text))
    return False
