"""The nearest cached questions, by comparing with all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleet.embedding.encoder import Vectors
from fleet.model.caching import CachedQuestion, Neighbour

_NOWHERE = -2.0
"""A similarity below every cosine."""


class QuestionIndex:
    """The questions of one tenant and scope, at most `bound`: the oldest goes when another comes.

    An exact search: at 100,000 entries it takes some milliseconds of one core (docs/explanation/caching.md), and has
    nothing to tune or to rebuild.
    """

    def __init__(self, dimensions: int, bound: int) -> None:
        self._vectors: Vectors = np.zeros((0, dimensions), dtype=np.float32)
        self._taken = np.zeros(0, dtype=np.bool_)
        self._bound = bound
        self._slots: list[CachedQuestion | None] = []
        self._where: dict[str, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._where)

    def add(self, question: CachedQuestion, vector: Vectors) -> None:
        """Add a question, in place of one with the same entry."""
        slot = self._where.get(question.entry)
        if slot is None:
            slot, self._next = self._next, (self._next + 1) % self._bound
            if slot >= len(self._vectors):
                self._grow(slot + 1)
            displaced = self._slots[slot]
            if displaced is not None:
                del self._where[displaced.entry]
            self._where[question.entry] = slot
        self._slots[slot] = question
        self._vectors[slot] = vector
        self._taken[slot] = True

    def remove(self, entry: str) -> None:
        """Remove an entry; nothing happens if it is not there."""
        slot = self._where.pop(entry, None)
        if slot is not None:
            self._slots[slot] = None
            self._taken[slot] = False

    def nearest(self, vector: Vectors, count: int) -> Sequence[Neighbour]:
        """Return at most `count` questions, nearest first."""
        wanted = min(count, len(self._where))
        if wanted <= 0:
            return ()
        cosines = np.where(self._taken, self._vectors @ vector, _NOWHERE)
        rows = np.argpartition(-cosines, wanted - 1)[:wanted]
        rows = rows[np.argsort(-cosines[rows], kind="stable")]
        found = ((self._slots[row], float(cosines[row])) for row in rows.tolist())
        return [
            Neighbour(each.entry, each.question.text, each.answer, cosine) for each, cosine in found if each is not None
        ]

    def _grow(self, least: int) -> None:
        size = min(self._bound, max(least, 2 * len(self._vectors)))  # most scopes may have a single question
        larger = np.zeros((size, self._vectors.shape[1]), dtype=np.float32)
        larger[: len(self._vectors)] = self._vectors
        self._vectors = larger
        self._taken = np.concatenate((self._taken, np.zeros(size - len(self._taken), dtype=np.bool_)))
        self._slots.extend([None] * (size - len(self._slots)))
