"""Kills every process at every step of a job's path, under load; then at random moments; then balances the accounts.

    python -m benchmarks.chaos [--rounds 6] [--minutes 1] [--jobs 20000] [--seed 1] [--out build/chaos.json]

A kill at a step is a fault point of a dispatcher (`fleet.faults`): it kills itself there, or the nats-server, or, at
the steps of a client, that client. One of two dispatchers is never armed. Everything is restarted at once. As often
a dispatcher is cut off, its clock is set, the disk is full (root only: a disk in memory), an upgrade is half done.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.chaos.kills import Plan, Run
from benchmarks.chaos.load import log_of
from benchmarks.chaos.report import matrix_of, show
from benchmarks.chaos.surroundings import FAULTS, give_back, own_disk


def main() -> None:
    arguments = _arguments()
    logging.getLogger("queues").setLevel(logging.ERROR)  # a broker that is away is no news here
    with tempfile.TemporaryDirectory(prefix="fleet-chaos-") as folder:
        disk = Path(folder, "nats")
        has_own_disk = own_disk(disk)
        befalls = tuple(what for what in FAULTS if what != "disk" or has_own_disk)
        plan = Plan(arguments.rounds, arguments.minutes, arguments.jobs, arguments.seed, befalls=befalls)
        run = Run(plan, Path(folder))
        try:
            verdict, trouble = asyncio.run(run.whole())
        except BaseException:
            print(log_of(Path(folder)), file=sys.stderr)
            raise
        finally:
            if has_own_disk:
                give_back(disk)
    matrix = matrix_of(run.kills, trouble)
    record = {"kills": len(run.kills), **asdict(verdict), "matrix": matrix}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=2))
    show(len(run.kills), matrix, verdict)
    sys.exit(0 if verdict.balances else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="kills of each process at each step")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to kill at random moments")
    parser.add_argument("--jobs", type=int, default=20_000, help="go on until so many were accepted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/chaos.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
