"""The order in which a pull's messages and its status may come, as seen on one server and on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.model.errors import QueueUnavailable
from queues.jetstream.consuming import inlet as module
from queues.jetstream.consuming.inlet import Inlet

Word = str | Mapping[str, str]
"""A message by its name, or a status by its headers."""

BATCH_COMPLETED = {"Status": "409", "Description": "Batch Completed", "Nats-Pending-Messages": "0"}
TIMED_OUT = {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "1"}
NO_MESSAGES = {"Status": "404", "Description": "No Messages"}
TOO_MANY_BYTES = {"Status": "409", "Description": "Message Size Exceeds MaxBytes", "Nats-Pending-Messages": "1"}
LEADER_CHANGED = {"Status": "409", "Description": "Leadership Change", "Nats-Pending-Messages": "3"}
NOBODY = {"Status": "503"}


class Server:
    """A connection whose server answers each pull with the next of the scripts."""

    max_message_bytes = 1024
    generation = 0

    def __init__(self, *scripts: list[Word]) -> None:
        self._scripts = list(scripts)
        self.handed_back: list[str] = []

    def new_inbox(self) -> str:
        return "_INBOX.pull"

    async def subscribe(self, subject: str, callback: Callable[[Any], None]) -> str:
        self._callback = callback
        return subject

    async def unsubscribe(self, subscription: str) -> None:
        pass

    @asynccontextmanager
    async def waiting(self, timeout_seconds: float) -> AsyncIterator[asyncio.Future[Any]]:
        yield asyncio.get_running_loop().create_future()

    async def send(self, message: Any, reply: str = "") -> None:
        if message.data == b"-NAK":
            self.handed_back.append(message.subject)
            return
        for word in self._scripts.pop(0):
            self.say(word, reply)

    def say(self, word: Word, to: str = "") -> None:
        if isinstance(word, str):
            self._callback(SimpleNamespace(subject="jobs.bulk.acme", reply=word, headers=None))
        else:
            self._callback(SimpleNamespace(subject=to, reply="", headers=word))


def inlet_on(server: Server) -> Inlet:
    return Inlet(server, "JOBS", "bulk")  # type: ignore[arg-type]  # only what an inlet uses


async def pulled(inlet: Inlet, limit: int = 3) -> list[str]:
    return [message.reply for message in await inlet.pull(limit, 0.1, 1.0)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (["a", "b", "c", BATCH_COMPLETED], ["a", "b", "c"]),
        ([BATCH_COMPLETED, "a", "b", "c"], ["a", "b", "c"]),
        (["a", BATCH_COMPLETED, "b", "c"], ["a", "b", "c"]),
        (["a", "b", NO_MESSAGES], ["a", "b"]),
        (["a", "b", TIMED_OUT], ["a", "b"]),
        ([TIMED_OUT, "a", "b"], ["a", "b"]),
        ([TOO_MANY_BYTES, "a", "b"], ["a", "b"]),
        ([NO_MESSAGES], []),
    ],
)
async def test_a_status_may_come_before_after_or_between_what_it_counts(
    script: list[Word], expected: list[str]
) -> None:
    assert await pulled(inlet_on(Server(script))) == expected


async def test_what_was_announced_and_never_comes_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.0)
    assert await pulled(inlet_on(Server(["a", BATCH_COMPLETED]))) == ["a"]


async def test_what_comes_after_its_pull_belongs_to_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.0)
    server = Server([BATCH_COMPLETED], [NO_MESSAGES])
    inlet = inlet_on(server)
    assert await pulled(inlet) == []

    for word in ("a", "b", "c"):
        server.say(word)

    assert [await pulled(inlet, 2), await pulled(inlet, 2), await pulled(inlet, 2)] == [["a", "b"], ["c"], []]


@pytest.mark.parametrize("status", [LEADER_CHANGED, NOBODY])
async def test_a_refusal_is_an_error(status: Mapping[str, str]) -> None:
    with pytest.raises(QueueUnavailable, match="the consumer refuses"):
        await pulled(inlet_on(Server([status])))


async def test_what_came_late_is_handed_back_when_nobody_pulls_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.0)
    server = Server([BATCH_COMPLETED])
    inlet = inlet_on(server)
    await pulled(inlet)
    server.say("a")

    await inlet.close()

    assert server.handed_back == ["a"]
