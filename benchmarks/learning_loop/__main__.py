"""Measures the learning loop week by week, on real engines and with real training.

Four weeks of `plan.schedule`, by a simulated clock: before there are labels, with a calibration, with an adapter in a
roll-out, and after it is promoted. Its answers and those of the base and of the strong target come from vLLM, training
and export are the fleet's own, and so are all decisions: the ladder, confidence, thresholds with a promise, the draw of
the arm and the evidence that promotes it. There is no broker and no dispatcher; engines answer all of a week at once,
with the adapter merged into the weights.
Then `--loops` loops are drawn anew from the recorded answers: how often is the promise broken?

    python -m benchmarks.learning_loop [--repeats 3] [--jobs 1600] [--loops 200] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.learning_loop.loop import Loop, asked, run
from benchmarks.learning_loop.replay import replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1600)
    parser.add_argument("--loops", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.repeats, given.jobs, given.loops)
    if given.json:
        print(json.dumps(found))
    else:
        _show(found)


def measure(repeats: int, jobs: int, loops: int) -> dict[str, Any]:
    """Return the weeks, the turn and the replayed loops of each repeat."""
    with TemporaryDirectory(prefix="fleet-bench-") as name:
        folder = Path(name)
        drawn = asked(range(repeats), jobs, folder, _say)
        found: list[dict[str, Any]] = []
        for repeat, weeks in enumerate(drawn.repeats):
            place = folder / f"repeat-{repeat}"
            place.mkdir()
            found.append(_as_json(run(repeat, weeks, drawn.seconds_each, place, _say), loops, jobs, repeat))
    return {"jobs": jobs, "loops": loops, "repeats": found}


def _as_json(loop: Loop, loops: int, jobs: int, seed: int) -> dict[str, Any]:
    _say(f"repeat {seed}: {loops} loops of replay")
    weeks = [asdict(week) for week in loop.weeks]
    return {"weeks": weeks, "turn": loop.turn, "replay": replay(loop.rows, loop.digest, loops, jobs, seed)}


def _show(found: dict[str, Any]) -> None:
    print(f"{'repeat':<8}{'week':<14}{'escalated':>10}{'$/1,000':>10}{'right':>8}{'risk':>8}{'taught':>8}")
    for number, repeat in enumerate(found["repeats"]):
        for week in repeat["weeks"]:
            shares = "".join(f"{week[name]:>8.1%}" for name in ("right", "risk", "taught"))
            print(f"{number:<8}{week['name']:<14}{week['escalated']:>10.1%}{week['usd_per_thousand']:>10.5f}{shares}")
        for name in ("turn", "replay"):
            print(f"{number:<8}{name}: " + ", ".join(f"{key} {value}" for key, value in repeat[name].items()))


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
