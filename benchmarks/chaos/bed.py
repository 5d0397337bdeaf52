"""The fleet under test: a nats-server with a file store, two dispatchers, the provider; each can die and come back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import yaml

from benchmarks.chaos import children
from benchmarks.chaos.children import Place
from benchmarks.chaos.provider import Provider
from fleet.app import apply_topology
from fleet.model.errors import QueueUnavailable
from queues.jetstream import api
from queues.jetstream.client.connection import Connection, connect
from queues.server.embedded import EmbeddedServer

LEASE_SECONDS = 2.0
"""Short, so that a killed dispatcher's jobs come back while the run is still looking."""

LOOK_SECONDS = 0.01
"""Seconds between two looks at a condition: neither the kernel nor the broker announces these."""

PATIENCE_SECONDS = 600.0
"""Maximum seconds for any one condition; beyond it the run has failed."""

INVENTED_KEY = "sk-invented-for-chaos-0123456789"


async def until(holds: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition.

    Raises: TimeoutError that names the condition.
    """
    deadline = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(LOOK_SECONDS)


class Bed:
    """The fleet under test. `dispatchers` holds the two running ones, `restarts` counts those that ended by themselves.

    The provider and the broker live as long as the bed is open.
    """

    def __init__(self, folder: Path, provider: Provider) -> None:
        self.folder = folder
        self.server_folder = folder / "nats"
        self.server = EmbeddedServer(self.server_folder)
        self.dispatchers: list[ForkServerProcess] = []
        self._provider = provider
        self.forks: ForkServerContext = children.context()
        self._eyes: Connection | None = None
        self.restarts = 0

    async def open(self) -> None:
        self.server.start()
        await apply_topology(self.server.url)
        self._eyes = await connect(self.server.url, name="chaos-eyes")
        for _ in range(2):
            self.add_dispatcher()

    async def close(self) -> None:
        for process in self.dispatchers:
            process.kill()
            process.join()
        if self._eyes is not None:
            await self._eyes.close()
        self.server.stop()

    @property
    def place(self) -> Place:
        url = self._provider.url
        environment = {
            "FLEET_LEASE_SECONDS": str(LEASE_SECONDS),
            "FLEET_RULES_PATH": str(self._rules()),
            "FLEET_LOG_LEVEL": "warning",
            "FLEET_OPENAI_BASE_URL": f"{url}/v1",
            "FLEET_ANTHROPIC_BASE_URL": url,
            "FLEET_GROQ_BASE_URL": url,
            "FLEET_KEY_OPENAI_chaos__main": INVENTED_KEY,
            **{f"{name}_API_KEY": INVENTED_KEY for name in ("OPENAI", "ANTHROPIC", "GROQ")},
        }
        return Place(self.server.url, environment, self.folder)

    def _rules(self) -> Path:
        """Write the shipped rules with plenty of money: what crashed calls had set aside counts as spent."""
        path = self.folder / "rules.yaml"
        if not path.exists():
            rules = yaml.safe_load(Path("policies/rules.yaml").read_text())
            rules["money"]["daily_usd"] = 1_000_000
            path.write_text(yaml.safe_dump(rules))
        return path

    def add_dispatcher(self, fault: str = "", place: Place | None = None) -> ForkServerProcess:
        process = children.start_dispatcher(self.forks, place or self.place, fault)
        self.dispatchers.append(process)
        return process

    async def retire(self, process: ForkServerProcess, place: Place | None = None) -> None:
        """Kill a dispatcher, and start one at `place` instead."""
        if process in self.dispatchers:
            process.kill()
            if await self.gone(process):
                self.add_dispatcher(place=place)

    async def supervise(self) -> None:
        """Restart dispatchers that ended by themselves, as a supervisor does: one that finds no broker at its start."""
        while True:
            for process in [each for each in self.dispatchers if each.exitcode not in (None, -signal.SIGKILL)]:
                self.dispatchers.remove(process)
                self.add_dispatcher()
                self.restarts += 1
            await asyncio.sleep(LOOK_SECONDS)

    async def gone(self, process: ForkServerProcess) -> bool:
        """Wait until the process has ended; return whether it was killed."""

        async def has_ended() -> bool:
            return process.exitcode is not None

        await until(has_ended, "a dispatcher dies")
        if process.exitcode != -signal.SIGKILL:
            return False
        self.dispatchers.remove(process)
        return True

    async def server_gone(self, armed: ForkServerProcess) -> bool:
        """Wait until the nats-server has died; return False if the dispatcher armed to kill it ended first."""
        pid = self.server.pid
        assert pid is not None

        async def has_ended() -> bool:
            return not _runs(pid) or armed.exitcode is not None

        await until(has_ended, "the nats-server dies")
        return not _runs(pid)

    def restart_server(self) -> None:
        """Restart the server with the same store on the same port."""
        self.server.stop()
        self.server.start()

    async def stored(self, stream: str) -> int:
        """Return the number of messages in the stream; waits until the broker answers."""
        assert self._eyes is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return (await api.stream_info(self._eyes, stream)).messages
            except QueueUnavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def leftovers(self) -> str:
        """Return what is still in the queues, and whether anybody holds it, to help find a cause."""
        assert self._eyes is not None
        js = self._eyes.nats.jetstream()
        found: list[str] = []
        for stream in ("JOBS", "WORK"):
            stored = (await js.stream_info(stream, subjects_filter=">")).state.subjects or {}
            found += [f"{subject}: {count} stored" for subject, count in stored.items()]
            found += [
                f"{stream} {info.name}: {info.num_pending} wait, {info.num_ack_pending} in hand"
                for info in await js.consumers_info(stream)
                if info.num_pending or info.num_ack_pending
            ]
        return "; ".join(found)

    async def next_result_seconds(self, killed_at: float) -> float:
        """Return the seconds from the kill (monotonic) until one more result is stored."""
        before = await self.stored("RESULTS")

        async def has_more() -> bool:
            return await self.stored("RESULTS") > before

        await until(has_more, "a result after a kill")
        return time.monotonic() - killed_at


def _runs(pid: int) -> bool:
    """Return whether the process is alive; one that only waits to be reaped is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int | None) -> float:
    """Send SIGKILL, and return the time on the monotonic clock."""
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()
