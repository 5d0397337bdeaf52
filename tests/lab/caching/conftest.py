"""A small world: questions about a few subjects, as vectors that lie near their subject's, without a model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fleet.embedding.encoder import Vectors, unit

SUBJECTS, EACH = 8, 60


class Subjects:
    """Gives "subject 3, question 17" a vector near that of subject 3; unanswerable ones lie anywhere."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return unit(np.array([self._vector(text) for text in texts]))

    def _vector(self, text: str) -> np.ndarray:
        subject = text.split(",")[0]
        noise = np.random.default_rng(zlib.crc32(text.encode())).normal(size=12)
        centre = np.random.default_rng(zlib.crc32(subject.encode())).normal(size=12)
        return noise if subject == "nothing" else centre + 0.9 * noise


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """480 requests of 8 classes, and 40 that have no right answer."""
    known = [f'"subject {n}, question {k}",class {n}' for n in range(SUBJECTS) for k in range(EACH)]
    unknown = [f'"nothing, question {k}",oos' for k in range(40)]
    file = tmp_path / "stream.csv"
    file.write_text("\n".join(["text,answer_class", *known, *unknown]) + "\n")
    return file


@pytest.fixture
def encoder() -> Subjects:
    return Subjects()
