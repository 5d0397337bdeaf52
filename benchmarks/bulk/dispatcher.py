"""A dispatcher whose only model answers at once, and writes down which jobs it ran.

python -m benchmarks.bulk.dispatcher NATS_URL FILE
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Sequence

import uvloop

from benchmarks.bulk.rows import answer_to
from fleet import logs
from fleet.app.worker import DispatcherProcess
from fleet.model.attempt import Answer, Features, Outcome, Usage
from fleet.model.call import Call
from fleet.ports import Backend
from fleet.settings.environment import load

MODEL = "llama-8b"
_SURE = Features(-0.01, -0.01, -0.01, -0.01, -0.01, 1, 5.0, 0.01)


class InstantModel:
    """Answers each prompt in its own way, and appends a line for each call before it does."""

    def __init__(self, path: str) -> None:
        self._ran = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def run(self, calls: Sequence[Call]) -> AsyncIterator[Sequence[tuple[int, Outcome]]]:
        prompts = [str(call.request["messages"][-1]["content"]) for call in calls]
        os.write(self._ran, b"".join(f"{prompt}\n".encode() for prompt in prompts))
        yield [(index, _answer(prompt)) for index, prompt in enumerate(prompts)]

    async def stop(self, ids: Collection[str]) -> None:
        """Do nothing: a call is over before anybody could stop it."""

    async def close(self) -> None:
        pass


def _answer(prompt: str) -> Answer:
    message = {"role": "assistant", "content": answer_to(prompt)}
    return Answer(message, "stop", Usage(20, 8), "instant", _SURE)


class InstantDispatcher(DispatcherProcess):
    def __init__(self, nats_url: str, path: str) -> None:
        super().__init__(load(nats_url=nats_url), with_ray=False)
        self._path = path

    def _backends(self) -> dict[str, Backend]:
        return {MODEL: InstantModel(self._path)}


async def _serve(nats_url: str, path: str) -> None:
    process, draining = InstantDispatcher(nats_url, path), set[asyncio.Task[None]]()
    drain = lambda: draining.add(asyncio.create_task(process.drain()))  # noqa: E731
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain)
    await process.run()


if __name__ == "__main__":
    logs.configure("WARNING")
    uvloop.run(_serve(sys.argv[1], sys.argv[2]))
