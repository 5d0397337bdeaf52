"""Feeds in hundreds of thousands of malformed messages: `python -m fuzzing [malformed messages] [Hypothesis's]`.

Prints a table and writes `build/fuzz.json`. Exits with 1 if a message broke a promise or hung, or if there were too
few.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fuzzing.generated import messages
from fuzzing.oracles import KINDS
from hypothesis import HealthCheck, Phase, given, seed, settings

MESSAGES = 200_000
GENERATED = 20_000
LONGEST_SECONDS = 900
COUNTED = ("messages", "rejected", "accepted", "crashes", "hangs")
COVERAGE = re.compile(rb"cov: (\d+)")


def generated(name: str, count: int) -> dict[str, Any]:
    """Feed in `count` messages made up by Hypothesis, and return the counts."""
    counts: Counter[str] = Counter()
    found: dict[str, str] = {}

    @seed(1)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(messages(KINDS[name]))
    def one(data: bytes) -> None:
        try:
            counts["accepted" if KINDS[name].oracle(data) else "rejected"] += 1
        except Exception as error:
            counts["crashes"] += 1
            found.setdefault(f"{type(error).__name__}: {error}"[:200], data.hex())

    one()
    return {**counts, "found": found}


def guided(name: str, count: int, folder: Path) -> dict[str, Any]:
    """Run libFuzzer on the kind in a process of its own, and return its report; without one it hung or died."""
    command = [sys.executable, "-m", "fuzzing.guided", name, str(count), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"hangs": 1}
    report = folder / f"{name}.json"
    if not report.exists():
        sys.stderr.buffer.write(done.stderr[-2000:])
        return {"hangs" if b"timeout" in done.stderr else "crashes": 1}
    branches = [int(number) for number in COVERAGE.findall(done.stderr)]
    return {**json.loads(report.read_text()), "branches": max(branches, default=0)}


def campaign(wanted: int, made_up: int, folder: Path) -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    _say("kind", "way", *COUNTED, "branches")
    for name in KINDS:
        kinds[f"{name}/guided"] = _told(name, "guided", guided(name, -(-wanted // len(KINDS)), folder))
        kinds[f"{name}/hypothesis"] = _told(name, "hypothesis", generated(name, -(-made_up // len(KINDS))))
    return {count: sum(report[count] for report in kinds.values()) for count in COUNTED} | {"kinds": kinds}


def _told(name: str, way: str, report: dict[str, Any]) -> dict[str, Any]:
    report = dict.fromkeys(COUNTED, 0) | report
    report["messages"] = report["rejected"] + report["accepted"] + report["crashes"] + report["hangs"]
    _say(name, way, *(report[count] for count in COUNTED), report.get("branches", ""))
    return report


def _say(*cells: object) -> None:
    sys.stdout.write("".join(f"{cell!s:<12}" for cell in cells).rstrip() + "\n")
    sys.stdout.flush()


def main(wanted: int, made_up: int) -> int:
    if find_spec("atheris") is None:
        sys.stderr.write("atheris, the coverage-guided half, is not installed: pip install -r requirements/fuzz.lock\n")
        return 1
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = campaign(wanted, made_up, Path(folder))
    report["seconds"] = round(time.monotonic() - began, 1)
    build = Path("build")
    build.mkdir(exist_ok=True)
    (build / "fuzz.json").write_text(json.dumps(report, indent=2) + "\n")
    _say("together", "", *(report[count] for count in COUNTED), f"in {report['seconds']} s")
    return 1 if report["crashes"] or report["hangs"] or report["rejected"] < wanted else 0


if __name__ == "__main__":
    asked = [int(each) for each in sys.argv[1:]]
    sys.exit(main(*(asked + [MESSAGES, GENERATED][len(asked) :])))
