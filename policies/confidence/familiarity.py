"""Likeness of a request to those a calibration has labels of: by its task, and by features of its text.

A calibrated probability holds only for traffic like its labels. Standard library only, and called for every answer
that a calibration judges, so: one pass per sign, sets in place of loops, and a few hundred multiplications.
"""

from __future__ import annotations

import re
from collections.abc import Set
from math import log1p
from operator import mul, sub
from typing import Any
from zlib import crc32

from fleet.model.calibration import Calibration, Region
from fleet.model.job import ChatRequest, Job

FIRST, LAST = 4_000, 2_000
"""Characters of a long text that are read, from its beginning and its end; all of them count in its length."""

ODDEST = 4.0
"""Standard deviations beyond which a single odd number says no more."""

_SIGNS = str.maketrans(dict.fromkeys("0123456789\"'()[]{}<>.,;:!?*/\\|-_=+#$%&@~^`", " "))
_NUMBER = re.compile(r"[0-9]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMMON = _words(
    "the a an of to in and or is are was were be it that this for on at by with as from not do does did has have had "
    "can will would could all than"
)
_QUANTITY = _words("how many much each every per if more less left total twice half times than does")
_PERSON = _words("he she his her him they their them i my we")
_QUESTION = _words("what which who whom whose where when in was")

NUMBERS = (
    "log_chars", "log_words", "log_lines", "log_questions", "log_points", "log_commas", "log_colons", "log_numbers",
    "log_dollars", "log_brackets", "log_quotes", "log_common", "log_quantities", "log_persons", "log_questioning",
    "log_capitals", "log_not_ascii", "numbers_share", "capitals_share", "chars_per_word", "log_turns", "log_unknown",
    "unknown_share",
)  # fmt: skip
"""Names of `numbers_of`, in order. `log_` is the natural logarithm of 1 + count; words are counted once each."""


def is_familiar(calibration: Calibration, job: Job) -> bool:
    """Return whether the calibration has labels of the job's task, and of texts like the job's if it knows their texts.

    A calibration that does not say what it was fitted on covers all of its key's scope.
    """
    seen = calibration.familiar
    if seen is None:
        return True
    return job.task in seen.tasks and (seen.region is None or is_inside(seen.region, job.request))


def knows_task(calibration: Calibration, task: str) -> bool:
    """Return whether the calibration has labels of this task; see `is_familiar`."""
    seen = calibration.familiar
    return seen is None or task in seen.tasks


def is_inside(region: Region, request: ChatRequest) -> bool:
    """Return whether a request's text is no odder than nearly all labelled ones."""
    near, odd = distances(region, request)
    return near <= region.farthest and odd <= region.oddest


def distances(region: Region, request: ChatRequest) -> tuple[float, float]:
    """Return how far a request is from the labelled ones: with the correlations of its numbers, and without.

    The first is Mahalanobis's distance; the second counts each number by itself, clipped, and so sees texts that are
    odd in many numbers a little.
    """
    apart = list(map(sub, numbers_of(*read(request), region.words), region.means))
    near = sum([sum(map(mul, row, apart)) ** 2 for row in region.rows])
    odd = sum([min(abs(each), ODDEST) ** 2 for each in map(mul, apart, region.weights)])
    return near**0.5, odd**0.5


def read(request: ChatRequest) -> tuple[str, int]:
    """Return all text of a request, the system prompt and earlier turns included, and the number of its pieces."""
    said: list[str] = []
    turns = 0
    for message in request.get("messages", ()):
        content: Any = message.get("content")
        if isinstance(content, str):
            said.append(content)
        elif content:
            said += [part.get("text") or "" for part in content]
            turns += sum("text" not in part for part in content)
        turns += message.get("role") != "system"
    return "\n".join(said), turns


def numbers_of(text: str, turns: int, known: Set[int]) -> list[float]:
    """Return the NUMBERS of a text; all are finite, for any text. `known` are hashes of words: see `hashes_of`."""
    chars = len(text)
    if chars > FIRST + LAST:
        text = f"{text[:FIRST]}\n{text[-LAST:]}"
    spaced = text.translate(_SIGNS)
    words = spaced.split()
    count, distinct = max(len(words), 1), set(words)
    lower = set(spaced.lower().split())
    unknown = len(_hashed(lower) - known)
    capitals = len(distinct - lower)
    found = len(_NUMBER.findall(text))
    sign = text.count
    return [
        log1p(chars),
        log1p(len(words)),
        *[log1p(sign(each)) for each in "\n?.,:"],
        log1p(found),
        log1p(sign("$")),
        log1p(sign("(")),
        log1p(sign('"') + sign("'")),
        *[log1p(len(each & lower)) for each in (_COMMON, _QUANTITY, _PERSON, _QUESTION)],
        log1p(capitals),
        0.0 if text.isascii() else log1p(len(text) - len(text.encode("ascii", "ignore"))),
        4.0 * found / count,
        2.0 * capitals / max(len(distinct), 1),
        min(len(text) / count, 60.0) / 3.0,
        2.0 * log1p(turns),
        log1p(unknown),
        3.0 * unknown / max(len(lower), 1),
    ]


def hashes_of(text: str) -> set[int]:
    """Return the hashes of a text's words: a calibration tells known words from unknown ones, and quotes none."""
    if len(text) > FIRST + LAST:
        text = f"{text[:FIRST]}\n{text[-LAST:]}"
    return _hashed(set(text.translate(_SIGNS).lower().split()))


def _hashed(words: Set[str]) -> set[int]:
    return set(map(crc32, [word.encode("utf-8", "replace") for word in words]))
