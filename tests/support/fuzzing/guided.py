"""Feeds one kind of message to libFuzzer (`atheris`): messages that reach new code are kept and mutated further.

    python -m fuzzing.guided <kind> <malformed messages wanted> <folder>

writes `<folder>/<kind>.json` and each message that broke a promise beside it. libFuzzer itself ends the process when
one message takes longer than `HANG_SECONDS` or the memory runs out; then there is no report.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["queues", "fleet.model", "fleet.dispatch.transition", "policies"]):
    from fuzzing.oracles import KINDS, Kind

from fuzzing.mutation import mutate

HANG_SECONDS = 10
MAX_BYTES = 64 * 1024
KEPT_CRASHES = 20


class Campaign:
    """Counts the outcome of each message, and ends the process once enough were malformed."""

    def __init__(self, name: str, kind: Kind, wanted: int, folder: Path) -> None:
        self._name, self._kind, self._wanted, self._folder = name, kind, wanted, folder
        self._counts: Counter[str] = Counter()
        self._slowest_seconds = 0.0
        self._crashes: dict[str, str] = {}

    def one(self, data: bytes) -> None:
        began = time.perf_counter()
        try:
            self._counts["accepted" if self._kind.oracle(data) else "rejected"] += 1
        except Exception as error:
            self._counts["crashes"] += 1
            self._keep(error, data)
        self._slowest_seconds = max(self._slowest_seconds, time.perf_counter() - began)
        if self._counts["rejected"] >= self._wanted:
            self._end()

    def _keep(self, error: Exception, data: bytes) -> None:
        what = f"{type(error).__name__}: {error}"[:200]
        if what not in self._crashes and len(self._crashes) < KEPT_CRASHES:
            path = self._folder / f"{self._name}-crash-{len(self._crashes)}"
            path.write_bytes(data)
            self._crashes[what] = str(path)

    def _end(self) -> None:
        report = {**self._counts, "slowest_seconds": round(self._slowest_seconds, 4), "found": self._crashes}
        (self._folder / f"{self._name}.json").write_text(json.dumps(report))
        sys.stdout.flush()
        # libFuzzer's own number of runs counts the malformed and the others alike, so the end is ours to make.
        os._exit(0)


def mutator(kind: Kind) -> Callable[[bytes, int, int], bytes]:
    """Return a mutator; half its changes start from a valid message: broken JSON, kept for coverage, has no inside."""

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.2:
            changed: bytes = atheris.Mutate(data, max_size)
            return changed
        return mutate(random.choice(kind.seeds) if random.random() < 0.6 else data, random)[:max_size]

    return change


def main(name: str, wanted: int, folder: Path) -> None:
    kind = KINDS[name]
    corpus = folder / f"{name}-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(kind.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_len={MAX_BYTES}", f"-timeout={HANG_SECONDS}", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/"]
    campaign = Campaign(name, kind, wanted, folder)
    atheris.Setup([name, *options, str(corpus)], campaign.one, custom_mutator=mutator(kind))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
