"""Takes a fleet from a backlog to GPU machines and back to none, with one that dies on the way. No GPU is needed.

Real: NATS, the dispatcher, Ray Serve, the fleet's scaling policy in Serve's controller, and Ray's autoscaler.
Pretended: the GPU machines (`benchmarks.autoscaler.machines`) and the model (`benchmarks.autoscaler.engine`). Jobs
keep coming until the machine that died has been replaced; then they end, and so do the replicas, and the machines.

    python -m benchmarks.autoscaler [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import yaml

import policies
from benchmarks.autoscaler import machines
from benchmarks.autoscaler.engine import ANSWER_TOKENS, PROMPT_TOKENS, TARGET
from benchmarks.autoscaler.story import JOBS_PER_SECOND, MOST, OUTCOME
from benchmarks.autoscaler.timeline import Row, markdown
from queues.server.embedded import EmbeddedServer

ROOT: Final = Path(__file__).parents[2]

SCALING: Final = {"headroom": 0.02, "settle_seconds": 5.0, "idle_seconds": 5.0}
"""Impatient rules: enough replicas to finish the waiting jobs in a fiftieth of their 15 minutes, and gone at once."""

COLD_SECONDS: Final = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    outcome = _told()
    if arguments.json:
        print(json.dumps(outcome))
        return
    print("\n".join(markdown([Row(**row) for row in outcome.pop("rows")])), end="\n\n")
    for name, value in outcome.items():
        print(f"{name}: {value}")


def _leave(number: int, frame: FrameType | None) -> None:
    """Exit on SIGTERM, so that everything we started is stopped."""
    sys.exit(128 + number)


def _told() -> dict[str, Any]:
    """Run the story in a process of its own: Ray kills a process that loses its cluster before it can clean up."""
    with _folder() as folder, EmbeddedServer(folder / "nats") as broker:
        environment = machines.environment() | {
            "FLEET_NATS_URL": broker.url,
            "FLEET_RULES_PATH": str(_rules(folder)),
            "FLEET_CATALOGUE_PATH": str(_catalogue(folder)),
            "FLEET_LOG_LEVEL": "warning",
            "PYTHONPATH": str(ROOT),  # where replicas find the engine
        }
        with machines.running(folder / "ray", MOST, environment) as cluster:
            story = [sys.executable, "-m", "benchmarks.autoscaler.story", cluster.address, str(folder), broker.url]
            _run(story, environment, folder / "story.log")
        outcome: dict[str, Any] = json.loads((folder / OUTCOME).read_text())
        return outcome


def _run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command and show its output only if it fails: Ray tells at length of the machine that dies on purpose."""
    with log.open("w") as told:
        ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=told, stderr=told)
    if ended.returncode != 0:
        sys.exit(log.read_text())


def _rules(folder: Path) -> Path:
    """Write the shipped rules, with little patience and one target for simple jobs, whose every answer is accepted."""
    rules = yaml.safe_load((Path(policies.__file__).parent / "rules.yaml").read_text())
    for phase in rules["phases"].values():
        phase["simple"] = [TARGET]
    for plan in rules["plans"].values():
        plan["thresholds"]["simple"] = 0.0
    rules["confidence"]["gates"] = []
    rules["scaling"] |= SCALING
    return _written(folder / "rules.yaml", rules)


def _catalogue(folder: Path) -> Path:
    """Write the shipped catalogue, with the true figures of the pretended model."""
    catalogue = yaml.safe_load((ROOT / "deployments" / "catalogue.yaml").read_text())
    [row] = [each for each in catalogue["targets"] if (each["name"], each.get("profile")) == (TARGET, "local")]
    tokens_per_second = JOBS_PER_SECOND * (PROMPT_TOKENS + ANSWER_TOKENS)
    row["serving"] |= {"tokens_per_second": tokens_per_second, "cold_seconds": COLD_SECONDS}
    row |= {"batch_size": 16, "max_in_flight": 128}
    return _written(folder / "catalogue.yaml", catalogue)


def _written(path: Path, document: Any) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def _folder() -> Iterator[Path]:
    """Provide a folder with a short path, as Unix sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    (folder / "ray").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
