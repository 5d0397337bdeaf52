"""Texts that are nearly the same, by MinHash over three words in a row (Broder 1997).

A signature has the least of each of 128 hashes of a text's shingles; the share of equal places estimates how much of
their shingles two texts share (Jaccard), to 0.04. Every text is compared with every other, which misses none as buckets
would: a second for 1,000 texts, half a minute for 10,000.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

SHINGLE_WORDS = 3
PLACES = 128
GRAM_WORDS = 8
"""Words in a row that are taken for a quotation, as evaluations of language models have it."""

AT_A_TIME = 4096

Signatures = npt.NDArray[np.uint32]

_WORD = re.compile(r"\w+")

_RNG = np.random.default_rng(20_260_701)  # the same hashes always, so that the same texts give the same export
_FACTORS = _RNG.integers(2**63, size=PLACES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_ADDENDS = _RNG.integers(2**63, size=PLACES, dtype=np.uint64)


def words_of(text: str) -> list[str]:
    """Return the words of the normal form: case, width, punctuation and blanks make no difference."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normal(text: str) -> str:
    return " ".join(words_of(text))


def signatures(texts: Sequence[str]) -> Signatures:
    """Return a row of `PLACES` numbers for each text."""
    found = np.empty((len(texts), PLACES), dtype=np.uint32)
    for row, text in enumerate(texts):
        hashes = np.array(sorted(_hashes(words_of(text), SHINGLE_WORDS)), dtype=np.uint64)
        found[row] = _least(hashes)
    return found


def _least(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the least of each hash, some thousand shingles at a time: a text may be a book."""
    parts = (hashes[first : first + AT_A_TIME, None] for first in range(0, len(hashes), AT_A_TIME))
    found = [((part * _FACTORS + _ADDENDS) >> np.uint64(32)).min(axis=0) for part in parts]
    return np.asarray(np.min(found, axis=0), dtype=np.uint64)


def resemblance(one: npt.NDArray[np.uint32], others: Signatures) -> npt.NDArray[np.float64]:
    """Return the estimated shares of shingles that one text has in common with each of the others."""
    return np.asarray(np.count_nonzero(others == one, axis=1), dtype=np.float64) / PLACES


def clusters(found: Signatures, radius: float) -> npt.NDArray[np.intp]:
    """Return a number for each text, the same for texts that a chain of resemblances of at least `radius` joins."""
    labels = np.arange(len(found), dtype=np.intp)
    for row in range(1, len(found)):
        near = labels[:row][resemblance(found[row], found[:row]) >= radius]
        if len(near):
            joined = np.unique(np.append(near, labels[row]))
            labels[: row + 1][np.isin(labels[: row + 1], joined)] = joined[0]
    return labels


class Quotations:
    """Finds texts that hold most of another text, word for word."""

    def __init__(self, texts: Collection[str]) -> None:
        self._sizes: list[int] = []
        self._places: defaultdict[int, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            grams = _hashes(words_of(text), GRAM_WORDS)
            self._sizes.append(len(grams))
            for gram in grams:
                self._places[gram].append(number)

    def quotes(self, text: str, share: float) -> bool:
        """Return whether the text has at least this share of the quotations that one of the others is made of."""
        counts: defaultdict[int, int] = defaultdict(int)
        for gram in _hashes(words_of(text), GRAM_WORDS):
            for number in self._places.get(gram, ()):
                counts[number] += 1
        return any(count >= share * self._sizes[number] for number, count in counts.items())


def _hashes(words: Sequence[str], length: int) -> set[int]:
    """Return a hash of every `length` words in a row; of all words where there are fewer."""
    rows = (words[at : at + length] for at in range(max(1, len(words) - length + 1)))
    return {int.from_bytes(hashlib.blake2b(" ".join(row).encode(), digest_size=8).digest(), "big") for row in rows}
