"""Measures how long a roll-out that is stopped goes on, until the last of the fleet's dispatchers has heard of it.

Each of the dispatchers has a connection of its own to one real broker, follows the experiments, and decides on a job of
the candidate's as soon as it hears of a change. The time is that from the stop, `fleet rollout
stop` without the start of its process, to the first job that the last of them answers as control.

    python -m benchmarks.kill_switch [--json] [--dispatchers 8] [--rounds 20]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from benchmarks.report import show
from fleet.dispatch.in_flight import InFlightJob
from fleet.dispatch.state.experiments import Experiments, Trials
from fleet.model.delivery import Delivery, JobsOf
from fleet.model.experiment import Arm, Experiment, Unit
from fleet.model.job import Job, Lane, Plan
from fleet.settings.documents import load_rules
from policies.experiments.arms import in_arm
from policies.experiments.checks import started, stopped
from policies.rules.rules import Rules
from queues.jetstream.client.connection import Connection, connect
from queues.jetstream.stores.experiments import JetStreamExperiments
from queues.jetstream.streams.configs import TopologySpec
from queues.jetstream.streams.topology import apply
from queues.server.embedded import EmbeddedServer

EVERYBODY = (Arm("candidate", 1.0, target="llama-70b"),)
JOB = Job(
    id="job-0123456789abcdef",
    tenant="acme",
    lane=Lane.INTERACTIVE,
    task="classify.intent",
    plan=Plan.PAID,
    request={"messages": [{"role": "user", "content": "All is well."}]},
    submitted_at=0.0,
)
DELIVERY = Delivery(JOB, JobsOf(Lane.INTERACTIVE, "acme"), 1, 0.0, None, b"", None)


def target_of(experiments: Experiments) -> str:
    """Return the first rung of the job as a dispatcher with these experiments decides now."""
    inflight = experiments.enrol(InFlightJob.of(DELIVERY))
    rules = experiments.rules(inflight.assigned)
    return rules.phases[rules.phase].simple[0]


async def until(experiments: Experiments, target: str) -> float:
    """Return when the first job was decided so, by the clock that never goes back."""
    while target_of(experiments) != target:
        await experiments.changed.wait()
        experiments.changed.clear()
    return time.perf_counter()


async def measure(dispatchers: int, rounds: int) -> dict[str, float]:
    rules = load_rules(None, None, "local")
    async with AsyncExitStack() as stack:
        connections = await connected(stack, dispatchers + 1)
        operator = JetStreamExperiments(connections[0])
        parts = [_part(JetStreamExperiments(each), rules) for each in connections[1:]]
        stop = asyncio.Event()
        watching = [asyncio.create_task(each.watch(stop)) for each in parts]
        seconds = [await _round(operator, parts, f"trial-{number}", rules) for number in range(rounds)]
        stop.set()
        await asyncio.gather(*watching)
    return figures(dispatchers, seconds)


def figures(dispatchers: int, seconds: Sequence[float]) -> dict[str, float]:
    """Return what the rounds say of the last dispatcher."""
    return {
        "dispatchers": float(dispatchers),
        "rounds": float(len(seconds)),
        "last_dispatcher_ms_median": 1000 * median(seconds),
        "last_dispatcher_ms_max": 1000 * max(seconds),
    }


async def connected(stack: AsyncExitStack, count: int) -> list[Connection]:
    """Return connections to a new broker that has the fleet's streams; `stack` ends both."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    server = stack.enter_context(EmbeddedServer(Path(folder)))
    connections = [await connect(server.url) for _ in range(count)]
    for each in connections:
        stack.push_async_callback(each.close)
    await apply(connections[0].nats.jetstream(), TopologySpec())
    return connections


def _part(store: JetStreamExperiments, rules: Rules) -> Experiments:
    return Experiments(Trials(store, lambda experiment, arm: in_arm(rules, experiment, arm)), rules)


async def _round(operator: JetStreamExperiments, parts: Sequence[Experiments], name: str, rules: Rules) -> float:
    trial = Experiment(name, Unit.TENANT, EVERYBODY)
    await operator.change(lambda there: started(trial, there.values(), time.time()))
    await asyncio.gather(*(until(each, "llama-70b") for each in parts))
    begun_at = time.perf_counter()
    control = rules.phases[rules.phase].simple[0]
    waiting = [asyncio.create_task(until(each, control)) for each in parts]
    await operator.change(lambda there: stopped(there[name], "measured", time.time()))
    return max(await asyncio.gather(*waiting)) - begun_at


def run(
    measured: Callable[[int, int], Coroutine[None, None, dict[str, float]]],
    about: str | None,
    arguments: Sequence[str] | None,
) -> None:
    """Measure with the number of dispatchers and of rounds that the command line says, and show it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--dispatchers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args(arguments)
    show(asyncio.run(measured(given.dispatchers, given.rounds)), given.json)


if __name__ == "__main__":
    run(measure, __doc__, None)
