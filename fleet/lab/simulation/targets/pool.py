"""The replicas of one own target, as one server whose speed depends on how much it has to do.

A replica that runs n sequences takes a + c x n seconds for a step, in which each gets a token: reading the weights
takes the same time for any batch, and every sequence adds its own. So n jobs share n / (a + c x n) tokens per second,
up to the `Serving.tokens_per_second` of full batches; this is the roofline that batching climbs. Replicas share
the running jobs evenly, so all jobs run at the same speed at any time (processor sharing), and the next to finish is
the one with the least work left: one clock of work done per job is enough.

Work is counted in answer tokens. A prompt is read about ten times as fast as an answer is written, as the catalogue has
it, and so counts a tenth. `tokens_per_second` counts both alike at the catalogue's own mix, four prompt tokens for each
of the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from fleet.lab.simulation.workload.crowd import SimulatedJob
from fleet.lab.simulation.workload.scenario import Own
from fleet.model.errors import ConfigError
from fleet.model.target import Serving

PROMPT_WORK = 0.1
"""Work of a prompt token, in answer tokens."""

PROMPT_PER_ANSWER = 4.0
"""Prompt tokens per answer token in the catalogue's figures for full batches."""

WORK_PER_TOKEN = (1 + PROMPT_WORK * PROMPT_PER_ANSWER) / (1 + PROMPT_PER_ANSWER)


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of one replica.

    A step of n sequences takes `step_seconds + each_seconds x n`; up to `sequences` run at once on a replica.
    """

    step_seconds: float
    each_seconds: float
    sequences: int


def pace_of(name: str, own: Own, serving: Serving) -> Pace:
    """Return the pace that does `serving.tokens_per_second` in full batches. Raises: ConfigError if none can."""
    full_seconds = own.max_sequences / (serving.tokens_per_second * WORK_PER_TOKEN)
    if full_seconds < own.step_seconds:
        fastest = own.max_sequences / own.step_seconds / WORK_PER_TOKEN
        rule = f"allows {fastest:.0f} tokens/s in full batches at most; the catalogue says {serving.tokens_per_second}"
        raise ConfigError(f"own.{name}.step_seconds", rule)
    return Pace(own.step_seconds, (full_seconds - own.step_seconds) / own.max_sequences, own.max_sequences)


def work_of(job: SimulatedJob) -> float:
    return job.output + PROMPT_WORK * job.input


class Machine:
    """A machine shared by pools: each busy one makes steps on the others longer by the part `contention`.

    `numbers` tell runs apart: a job that was stopped on one pool may run on another while the first still holds it.
    """

    def __init__(self, contention: float) -> None:
        self.numbers = count(1)
        self._contention = contention
        self._pools: list[Pool] = []
        self._busy = 0

    def carry(self, pool: Pool) -> None:
        self._pools.append(pool)

    def changed(self, busy: int, now: float) -> None:
        """Note that so many more pools are busy."""
        self._busy += busy
        if self._contention:
            for pool in self._pools:
                pool.slow_down(1.0 + self._contention * max(0, self._busy - 1), now)


class Pool:
    """The jobs that run on `replicas`; `next_at` is when the first of them is done (infinity: none runs)."""

    __slots__ = (
        "_at",
        "_done",
        "_drag",
        "_machine",
        "_pace",
        "_running",
        "_speed",
        "n",
        "next_at",
        "replicas",
    )

    def __init__(self, pace: Pace, replicas: int, machine: Machine) -> None:
        self._pace = pace
        self._machine = machine
        machine.carry(self)
        self._drag = 1.0
        self._running: list[tuple[float, int, SimulatedJob]] = []
        self._at = self._done = 0.0
        self._speed = 0.0
        self.n = 0
        self.replicas = replicas
        self.next_at = math.inf

    @property
    def slots(self) -> int:
        return self.replicas * self._pace.sequences

    def start(self, job: SimulatedJob, now: float) -> None:
        self._advance(now)
        job.run = number = next(self._machine.numbers)
        heappush(self._running, (self._done + work_of(job), number, job))
        self.n += 1
        self._set_pace()
        if self.n == 1:
            self._machine.changed(1, now)

    def finish(self, now: float) -> SimulatedJob:
        """Return the job that is done at `next_at`, which is now."""
        self._advance(now)
        job = heappop(self._running)[2]
        self._left(job, now)
        return job

    def stop(self, job: SimulatedJob, now: float) -> None:
        """Stop a job that nobody waits for any more."""
        self._advance(now)
        self._left(job, now)

    def _left(self, job: SimulatedJob, now: float) -> None:
        """Note that a job no longer runs. A stopped one leaves the heap when it reaches its top."""
        job.run = 0
        self.n -= 1
        running = self._running
        while running and running[0][2].run != running[0][1]:
            heappop(running)
        self._set_pace()
        if not self.n:
            self._machine.changed(-1, now)

    def resize(self, replicas: int, now: float) -> None:
        """Change the number of replicas; the others take over the jobs of those that go."""
        self._advance(now)
        self.replicas = replicas
        self._set_pace()

    def lose_one(self, now: float) -> list[SimulatedJob]:
        """Lose a replica; return the jobs that ran on it, one in `replicas` of all."""
        running = [job for _, number, job in self._running if job.run == number]
        lost = running[:: self.replicas] if self.replicas else []
        self.resize(max(0, self.replicas - 1), now)
        for job in lost:
            self.stop(job, now)
        return lost

    def slow_down(self, drag: float, now: float) -> None:
        """Make each step take `drag` times as long from now on."""
        self._advance(now)
        self._drag = drag
        self._set_pace()

    def tokens_left(self) -> float:
        """Return the tokens of the running jobs, prompt and answer together, as far as their work is not done."""
        return sum(
            (until - self._done) / work_of(job) * (job.input + job.output)
            for until, number, job in self._running
            if job.run == number
        )

    def _advance(self, now: float) -> None:
        self._done += (now - self._at) * self._speed
        self._at = now

    def _set_pace(self) -> None:
        n = self.n
        if not n or not self.replicas:
            self._speed = 0.0
            self.next_at = math.inf
            return
        pace = self._pace
        on_each = n / self.replicas  # less than one: some replicas run one, the others none
        seconds = pace.step_seconds + pace.each_seconds * (on_each if on_each > 1.0 else 1.0)
        seconds *= self._drag
        self._speed = 1.0 / seconds
        left = self._running[0][0] - self._done
        self.next_at = self._at + (left * seconds if left > 0.0 else 0.0)
