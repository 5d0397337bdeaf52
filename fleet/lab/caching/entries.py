"""Cached questions as rows of vectors, and the signals of what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleet.embedding.encoder import Vectors
from fleet.lab.learning.sample import Array
from fleet.model.caching import Neighbour
from policies.caching.signals import CANDIDATES, signals_of

_BLOCK = 1024
_NOWHERE = -2.0
"""A similarity below every cosine, for entries that may not be a neighbour."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Cached questions: texts, identities of their answers, and vectors of unit length."""

    texts: Sequence[str]
    answers: Sequence[str]
    vectors: Vectors

    def __len__(self) -> int:
        return len(self.texts)

    def same_answer(self) -> Mask:
        """Return for all pairs of entries whether they have the same answer."""
        _, codes = np.unique(np.array(self.answers), return_inverse=True)
        equal: Mask = codes[:, None] == codes[None, :]
        return equal


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The signals of questions, a row each, and the answer that their nearest neighbour has."""

    signals: Array
    answers: Sequence[str]


def ask(entries: Entries, texts: Sequence[str], vectors: Vectors, hidden: Mask | None = None) -> Asked:
    """Return what the cache knows of each text; `hidden` marks the entries that each may not see."""
    found = list(_neighbours(entries, vectors, hidden))
    rows = [signals_of(text, near) for text, near in zip(texts, found, strict=True)]
    return Asked(np.array(rows, dtype=np.float64), [near[0].answer for near in found])


def _neighbours(entries: Entries, vectors: Vectors, hidden: Mask | None) -> Iterator[list[Neighbour]]:
    """Yield the nearest entries of each row of `vectors`, nearest first, by the comparison that serves."""
    count = min(CANDIDATES, len(entries))
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ entries.vectors.T
        if hidden is not None:
            cosines[hidden[start : start + _BLOCK]] = _NOWHERE
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        heights = np.take_along_axis(cosines, nearest, axis=1)
        order = np.argsort(-heights, axis=1, kind="stable")
        for rows, values in zip(
            np.take_along_axis(nearest, order, axis=1).tolist(),
            np.take_along_axis(heights, order, axis=1).tolist(),
            strict=True,
        ):
            seen = zip(rows, values, strict=True)
            yield [
                Neighbour(str(row), entries.texts[row], entries.answers[row], value)
                for row, value in seen
                if value > _NOWHERE
            ]
