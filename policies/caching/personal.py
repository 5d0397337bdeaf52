"""Finds personal data that has a shape of its own: addresses, numbers of phones, cards, accounts and people.

Names have no such shape. So this is the last barrier and never the only one: what may be kept is decided by a list of
tasks, and text is kept only where, besides, nothing of this is found in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SHAPES: Final = re.compile(
    r"[\w.+-]@[\w-]+\.\w"  # e-mail
    r"|(?<!\w)\+?\d[\d ()/.-]{7,}\d"  # phone, date with a time, long number
    r"|(?<!\w)\d{4}-\d{2}-\d{2}(?!\w)|(?<!\w)\d{1,2}[./]\d{1,2}[./]\d{2,4}(?!\w)"  # a day, such as that of a birth
    r"|(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}"  # IBAN
    r"|(?<!\w)\d{3}-\d{2}-\d{4}(?!\w)"  # US social security number
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"  # IPv4
    r"|(?<!\w)[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?!\w)"  # IPv6
    r"|(?<!\w)(?:sk|pk|ghp|xox[a-z]|AKIA)[-_A-Za-z0-9]{12,}"  # a secret
)

_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def is_personal(texts: Iterable[str], words: frozenset[str]) -> bool:
    """Return whether one of the texts holds something of a personal shape, or one of the `words` (lower case)."""
    return any(_SHAPES.search(text) is not None or not words.isdisjoint(_WORD.findall(text.lower())) for text in texts)
