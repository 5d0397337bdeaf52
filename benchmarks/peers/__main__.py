"""Compares Fleet with its peers in one run: the same job of 300 bytes, an instant answer, one worker process each.

Fleet, taskiq on JetStream, Celery on Redis, Ray Serve's asynchronous inference and stock nats-py take turns, several
rounds, and the medians count. The rate is measured from the first job taken to the last result stored, with all jobs
waiting before; the times at idle from submission to result, one job after the other. Then each worker is killed in the
middle and started again: `lost` are jobs without a result, `doubled` those with two, `ran_twice` those whose work was
done twice. A LiteLLM proxy keeps no jobs: its row is of synchronous calls, 32 at once and one by one. One by one the
same call is made directly, by `client.run` and by Fleet's gateway as well: `--only litellm` is that comparison alone.

Every broker keeps its jobs on disk, syncs each second, and gets its jobs back 5 s after a worker died. The peers live
in an environment of their own, which `make peers` makes; a peer that cannot run is a row that says so.

    python -m benchmarks.peers [--json] [--quick] [--engine] [--rounds 3] [--only fleet taskiq_nats]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from benchmarks.peers.added import calls_of, gateway_of, over_proxy
from benchmarks.peers.brokers import RedisServer
from benchmarks.peers.calls import CALLERS, Synchronous, synchronous
from benchmarks.peers.engine import engine
from benchmarks.peers.entrants import ENTRANTS, ENVIRONMENT, OWN, Entrant
from benchmarks.peers.machine import busy_share
from benchmarks.peers.table import PeerRow, RateRatio, Round, comparison, document, lines, row_of
from benchmarks.peers.trial import idle, kill, throughput, trial_of
from benchmarks.peers.work import WARM_UP_JOBS

LITELLM = "litellm"
IDLE_JOBS, CALLS, KILLED_JOBS, CHATS = 300, 300, 3_000, 1_000
ROUNDS = 3
QUICK = 5
"""The divisor of the numbers of jobs in a quick run."""

BROKEN = (RuntimeError, OSError, TimeoutError, ValueError)


class Contest:
    """The rounds and kills of all peers, and why one that dropped out did."""

    def __init__(self, divided_by: int, with_engine: bool = False) -> None:
        self._divided_by, self._with_engine = divided_by, with_engine
        self.rounds: defaultdict[str, list[Round]] = defaultdict(list)
        self.calls: list[Synchronous] = []
        self.counts: dict[str, dict[str, int]] = {}
        self.notes: dict[str, str] = {}
        self.busy: list[float] = []

    async def round(self, entrants: Sequence[Entrant], with_proxy: bool) -> None:
        for entrant in entrants:
            await self._attempt(entrant.module, entrant.name, self._measure(entrant))
        if with_proxy:
            await self._attempt(LITELLM, "LiteLLM proxy", self._call())

    async def _attempt(self, key: str, name: str, work: Any) -> None:
        if key in self.notes:
            work.close()
            return
        self.busy.append(await asyncio.to_thread(busy_share))
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            await work
        except BROKEN as error:
            print(error, file=sys.stderr, flush=True)
            self.notes[key] = f"not measured: {str(error).splitlines()[0]}"

    async def _measure(self, entrant: Entrant) -> None:
        async with trial_of(entrant) as trial:
            rate = await throughput(trial, (CHATS if self._with_engine else entrant.jobs) // self._divided_by)
            times = await idle(trial, IDLE_JOBS // self._divided_by + WARM_UP_JOBS)
        found = Round(rate.jobs_per_second, times, rate.worker_us, rate.beside_us)
        self.rounds[entrant.module].append(found)

    async def _call(self) -> None:
        found = await synchronous(CALLS // self._divided_by)
        self.calls.append(found)
        self.rounds[LITELLM].append(Round(found.proxy_calls_per_second, found.proxy_ms, found.proxy_us, None))

    async def kills(self, entrants: Sequence[Entrant]) -> None:
        for entrant in entrants:
            await self._attempt(entrant.module, f"{entrant.name}, killed", self._kill(entrant))

    async def _kill(self, entrant: Entrant) -> None:
        async with trial_of(entrant) as trial:
            found = await kill(trial, min(entrant.jobs, KILLED_JOBS) // self._divided_by)
        self.counts[entrant.module] = {"lost": found.lost, "doubled": found.doubled, "ran_twice": found.ran_twice}

    def rates(self, key: str) -> list[float]:
        return [each.jobs_per_second for each in self.rounds[key]]

    def compared(self, peer: str) -> RateRatio:
        return comparison(self.rates("fleet"), self.rates(peer), self.notes.get(peer, ""))


def missing(entrant: Entrant) -> str:
    """Return what a peer lacks on this machine, in words, or nothing."""
    if entrant.folder != OWN and not (entrant.folder / "python").exists():
        return "not measured: no environment of the peers (make peers)"
    if entrant.needs_redis and not RedisServer.is_installed():
        return "not measured: redis-server is not installed (apt-get install redis-server)"
    return ""


async def contest(
    entrants: Sequence[Entrant], with_proxy: bool, with_engine: bool, rounds: int, divided_by: int
) -> Contest:
    found = Contest(divided_by, with_engine)
    found.notes |= {entrant.module: why for entrant in entrants if (why := missing(entrant))}
    if not (ENVIRONMENT / "litellm").exists():
        found.notes[LITELLM] = "not measured: no environment of the peers (make peers)"
    for _ in range(rounds):
        await found.round(entrants, with_proxy)
    if not with_engine:
        await found.kills(entrants)
    return found


def rows_of(found: Contest, entrants: Sequence[Entrant], with_proxy: bool) -> list[PeerRow]:
    note, none = found.notes.get, dict[str, int]()
    rows = [
        row_of(each.name, found.rounds[each.module], found.counts.get(each.module, none), note(each.module, ""))
        for each in entrants
    ]
    if with_proxy:
        keeps_none = (
            f"calls, {CALLERS} at once; it keeps no jobs: a call that a kill interrupts fails, and its caller knows"
        )
        rows.append(row_of("litellm proxy", found.rounds[LITELLM], none, note(LITELLM, keeps_none)))
    return rows


def main() -> None:
    arguments = _arguments()
    chosen = [each for each in ENTRANTS if each.module in arguments.only]
    with_proxy = LITELLM in arguments.only and not arguments.engine
    load, divided_by = os.getloadavg()[0], QUICK if arguments.quick else 1
    rounds = arguments.rounds or (1 if arguments.quick else ROUNDS)
    with engine() if arguments.engine else nullcontext():
        found = asyncio.run(contest(chosen, with_proxy, arguments.engine, rounds, divided_by))
    ratios = {
        "fleet_over_taskiq": found.compared("taskiq_nats"),
        "fleet_over_celery": found.compared("celery_redis"),
        "fleet_over_ray_serve_async": found.compared("ray_serve"),
        "fleet_over_raw": found.compared("raw"),
        "gateway_added_over_proxy_added": over_proxy(found.calls, found.notes.get(LITELLM, "")),
    }
    busy = statistics.median(found.busy) if found.busy else 0.0
    machine = {"cores": os.cpu_count(), "rounds": rounds, "load_before": load, "busy_with_others": busy}
    calls = calls_of(found.calls)
    printed = document(rows_of(found, chosen, with_proxy), calls, ratios, machine, gateway_of(found.calls))
    print(json.dumps(printed) if arguments.json else "\n".join(lines(printed)))


def _arguments() -> argparse.Namespace:
    names = [*(each.module for each in ENTRANTS), LITELLM]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help=f"one round with a {QUICK}th of the jobs")
    parser.add_argument(
        "--engine", action="store_true", help="real chats on a vLLM engine of the 8B stand-in; no kills"
    )
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, of a quick run 1")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    return parser.parse_args()


if __name__ == "__main__":
    main()
