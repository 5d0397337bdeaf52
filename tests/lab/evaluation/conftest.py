"""Made-up replay files: answers with a known truth behind their confidence."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WriteReplay = Callable[..., Path]


@pytest.fixture(scope="session")
def write_replay(tmp_path_factory: pytest.TempPathFactory) -> WriteReplay:
    """Write a replay file.

    A weak answer is right with probability p and states p to the power of 1 / `overconfidence`; a strong answer is
    right with probability `strong`. The higher `easy`, the higher p.
    """

    def write(name: str = "replay.csv", rows: int = 400, seed: int = 1, **shape: float) -> Path:
        overconfidence, strong, easy = (
            shape.get(k, d) for k, d in (("overconfidence", 2), ("strong", 0.9), ("easy", 2))
        )
        rng = np.random.default_rng(seed)
        true = np.clip(rng.beta(easy, 1, size=rows), 0.02, 0.98)
        path = tmp_path_factory.mktemp("replay") / name
        columns = {
            "item": np.arange(rows),
            "weak_logprob": np.log(true) / overconfidence,
            "weak_correct": (rng.random(rows) < true).astype(int),
            "strong_correct": (rng.random(rows) < strong).astype(int),
            "weak_cost_usd": np.full(rows, 0.00003),
            "strong_cost_usd": np.full(rows, 0.0003),
            "weak_latency_ms": rng.gamma(4, 40, size=rows),
            "strong_latency_ms": rng.gamma(4, 100, size=rows),
            "prompt_chars": rng.integers(50, 900, size=rows),
        }
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(columns)
            out.writerows(zip(*columns.values(), strict=True))
        return path

    return write
