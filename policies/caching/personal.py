"""Finds personal data that has a shape of its own: addresses, numbers of phones, cards, accounts and people.

Names have no such shape. So this is the last barrier and never the only one: what may be kept is decided by a list of
tasks, and text is kept only where, besides, nothing of this is found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_EMAIL: Final = re.compile(r"[\w.+-]@[\w-]+\.\w")

_DIGIT: Final = re.compile(r"\d")

_WITH_DIGITS: Final = re.compile(
    r"(?<!\w)\+?\d[\d ()/.-]{7,}\d"  # phone, date with a time, long number
    r"|(?<!\w)\d{4}-\d{2}-\d{2}(?!\w)|(?<!\w)\d{1,2}[./]\d{1,2}[./]\d{2,4}(?!\w)"  # a day, such as that of a birth
    r"|(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}"  # IBAN
    r"|(?<!\w)\d{3}-\d{2}-\d{4}(?!\w)"  # US social security number
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"  # IPv4
)

_IPV6: Final = re.compile(r"(?<!\w)[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?!\w)")

_SECRET: Final = re.compile(r"(?<!\w)(?:sk|pk|ghp|xox[a-z]|AKIA)[-_A-Za-z0-9]{12,}")

_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def is_personal(texts: Iterable[str], words: frozenset[str]) -> bool:
    """Return whether one of the texts holds something of a personal shape, or one of the `words` (lower case)."""
    return any(_has_shape(text) or not words.isdisjoint(_WORD.findall(text.lower())) for text in texts)


def _has_shape(text: str) -> bool:
    """Return whether something in the text has such a shape; one is looked for only where its signs are."""
    return (
        ("@" in text and _EMAIL.search(text) is not None)
        or (_DIGIT.search(text) is not None and _WITH_DIGITS.search(text) is not None)
        or (text.count(":") >= 3 and _IPV6.search(text) is not None)
        or _SECRET.search(text) is not None
    )
