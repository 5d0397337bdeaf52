"""The client under test: a process that submits batch after batch, and loses none when killed and restarted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from benchmarks.chaos import children
from benchmarks.chaos.bed import PATIENCE_SECONDS, Bed, kill, until

WINDOW = 400
"""Jobs submitted and without a result: enough that every dispatcher has work in hand at every moment."""


class Load:
    """Keeps `WINDOW` jobs outstanding until told to stop. `submitted` counts accepted jobs."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._socket = bed.folder / "client.sock"
        self._stop = asyncio.Event()
        self._arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._fault = ""
        self.process: ForkServerProcess | None = None
        self.batches = 0
        self.deaths: asyncio.Queue[float] = asyncio.Queue()

    @property
    def submitted(self) -> int:
        return self.batches * children.BATCH

    async def run(self) -> None:
        """Submit until `stop`. A client that dies is replaced, and its open batch is sent again under the same ids."""
        server = await asyncio.start_unix_server(self._greet, str(self._socket))
        try:
            while not self._stop.is_set():
                await self._serve_one_life()
        finally:
            server.close()
            if self.process is not None:
                self.process.kill()
                self.process.join()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept a client that names its pid: the connection of a dead one may come up late."""
        said = await reader.readline()
        if said and self.process is not None and int(said) == self.process.pid:
            self._arrived.put_nowait((reader, writer))

    async def _serve_one_life(self) -> None:
        fault, self._fault = self._fault, ""
        self.process = children.start_client(self._bed.forks, self._bed.place, self._socket, fault)
        process = self.process

        async def has_come() -> bool:
            return not self._arrived.empty() or process.exitcode is not None

        await until(has_come, "the client comes up")
        if self._arrived.empty():
            self._note_end(process)
            return
        reader, writer = self._arrived.get_nowait()
        with contextlib.suppress(ConnectionError):
            while not self._stop.is_set():
                await until(self._has_room, "there is room for more jobs")
                writer.write(b"%d\n" % self.batches)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if not await reader.readline():
                        break
                self.batches += 1
        writer.close()
        if not self._stop.is_set():
            self._note_end(process)

    def _note_end(self, process: ForkServerProcess) -> None:
        """Note the client's death; one that finds no broker at its start ends by itself, and is only restarted."""
        process.join()
        if process.exitcode == -signal.SIGKILL:
            self.deaths.put_nowait(time.monotonic())

    async def _has_room(self) -> bool:
        return self._stop.is_set() or self.submitted - await self._bed.stored("RESULTS") < WINDOW

    async def die(self, fault: str = "") -> float:
        """Kill the client, arm the next one with `fault`, and return the time of death."""
        assert self.process is not None
        self._fault = fault
        kill(self.process.pid)
        return await self.death()

    async def death(self) -> float:
        """Wait for the client to die, and return the time."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.deaths.get()

    def stop(self) -> None:
        self._stop.set()


def log_of(folder: Path) -> str:
    """Return the last lines that the killed processes wrote, to help find a cause."""
    texts = [path.read_text(errors="replace")[-6000:] for path in sorted(folder.glob("*.log"))]
    return "\n".join(texts)
