"""Loading adapters: once, verified, within a bound, and what fails hurts nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from patience import eventually
from when_used import WhenUsed

from fleet.model.attempt import Answer, Failure, FailureKind, Usage

adapters = WhenUsed("deployments.replica.adapters")

ANSWER = Answer({"role": "assistant", "content": "hi"}, "stop", Usage(), "llama-8b")


def made(name: str) -> tuple[str, Mapping[str, bytes]]:
    """Return an adapter's digest and files. No engine reads these, so they need hold nothing."""
    header = json.dumps({"__metadata__": {"name": name}}).encode()
    tensors = len(header).to_bytes(8, "little") + header
    whole = hashlib.sha256(hashlib.sha256(b"{}").digest() + hashlib.sha256(tensors).digest())
    return whole.hexdigest(), {"adapter_config.json": b"{}", "adapter_model.safetensors": tensors}


FIRST, SECOND, THIRD = (made(name) for name in ("first", "second", "third"))
FILES = dict((FIRST, SECOND, THIRD))


class Engine:
    """The parts of an engine that load adapters; it keeps the names of those that are loaded."""

    def __init__(self) -> None:
        self.loaded: dict[int, str] = {}
        self.history: list[str] = []
        self.refuses: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        counter = iter(range(1, 100))
        self._oai_models = SimpleNamespace(
            lora_requests={}, lora_id_counter=SimpleNamespace(inc=lambda _: next(counter))
        )
        self._engine_client = SimpleNamespace(add_lora=self.add, remove_lora=self.remove)

    async def add(self, request: Any) -> None:
        await self.open.wait()
        self.history.append(request.lora_name)
        if self.refuses is not None:
            raise self.refuses
        self.loaded[request.lora_int_id] = request.lora_name

    async def remove(self, number: int) -> None:
        self.loaded.pop(number, None)


class Script:
    """A chat, and a reader of files, with what is asked of them."""

    def __init__(self, most: int = 2) -> None:
        self.engine = Engine()
        self.now = 0.0
        self.reads: list[str] = []
        self.warmed: list[str] = []
        self.warm_up: Any = ANSWER
        self.hold = asyncio.Event()
        self.hold.set()
        self.asked: list[str] = []
        loaded = adapters.LoadedAdapters(self.engine, most, self.warm, lambda: self.now)
        self.chat = adapters.AdaptedChat(SimpleNamespace(answer=self.ask), loaded)

    async def warm(self, request: Any) -> Any:
        self.warmed.append(request.lora_name)
        return self.warm_up

    async def ask(self, body: Any, timeout_seconds: float, adapter: Any = None) -> Any:
        self.asked.append("" if adapter is None else adapter.lora_name)
        await self.hold.wait()
        return ANSWER

    async def read(self, digest: str) -> Mapping[str, bytes] | None:
        self.reads.append(digest)
        return FILES.get(digest)

    async def answer(self, digest: str | None, timeout_seconds: float = 60.0, read: Any = None) -> Any:
        return await self.chat.answer({}, timeout_seconds, digest, read or self.read)


async def test_an_adapter_is_loaded_and_warmed_up_once_however_many_ask_for_it_first():
    script = Script()

    assert await asyncio.gather(*(script.answer(FIRST[0]) for _ in range(5))) == [ANSWER] * 5

    assert script.reads == script.engine.history == script.warmed == [FIRST[0]]
    assert script.asked == [FIRST[0]] * 5


async def test_a_call_without_an_adapter_waits_for_no_load():
    script = Script()
    script.engine.open.clear()
    waiting = asyncio.create_task(script.answer(FIRST[0]))

    assert await script.answer(None) == ANSWER
    assert not waiting.done()
    script.engine.open.set()
    assert await waiting == ANSWER


async def test_a_call_that_is_cancelled_does_not_stop_the_load_for_the_others():
    script = Script()
    script.engine.open.clear()
    first, second = (asyncio.create_task(script.answer(FIRST[0])) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    script.engine.open.set()

    assert await second == ANSWER
    assert script.engine.history == [FIRST[0]]


async def test_the_one_unused_for_longest_makes_room():
    script = Script(most=2)
    for digest in (FIRST[0], SECOND[0], FIRST[0], THIRD[0]):
        await script.answer(digest)

    assert set(script.engine.loaded.values()) == {FIRST[0], THIRD[0]}
    assert set(script.engine._oai_models.lora_requests) == {FIRST[0], THIRD[0]}


async def test_one_that_is_in_use_is_not_dropped_and_the_next_waits_for_its_place():
    script = Script(most=1)
    script.hold.clear()
    using = asyncio.create_task(script.answer(FIRST[0]))
    waiting = asyncio.create_task(script.answer(SECOND[0]))
    await eventually(lambda: script.reads == [FIRST[0], SECOND[0]] and script.asked)
    assert script.asked == [FIRST[0]]
    script.hold.set()

    assert await asyncio.gather(using, waiting) == [ANSWER, ANSWER]
    assert script.engine.history == [FIRST[0], SECOND[0]]
    assert list(script.engine.loaded.values()) == [SECOND[0]]


async def altered(digest: str) -> Mapping[str, bytes]:
    return {**FILES[digest], "adapter_config.json": b'{"r": 8}'}


async def partial(digest: str) -> Mapping[str, bytes]:
    return {"adapter_config.json": b"{}"}


async def absent(digest: str) -> None:
    return None


async def lost(digest: str) -> Mapping[str, bytes]:
    raise ConnectionError("the owner died")


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (altered, "its files have another digest"),
        (partial, "adapter_model.safetensors is missing"),
        (absent, "there are no files of it"),
        (lost, "ConnectionError: the owner died"),
    ],
)
async def test_files_that_are_not_what_the_digest_names_fail_the_call_and_never_reach_the_engine(read, why):
    script = Script()

    found = await script.answer(FIRST[0], read=read)

    assert found == Failure(FailureKind.ADAPTER, f"the adapter {FIRST[0][:12]} cannot be loaded: {why}")
    assert script.engine.history == []


async def test_one_that_the_engine_refuses_leaves_nothing_behind_and_the_others_answer():
    script = Script()
    script.engine.refuses = RuntimeError("sizes\n  differ")

    found = await script.answer(FIRST[0])

    assert found.kind is FailureKind.ADAPTER
    assert found.detail.endswith("RuntimeError: sizes differ")
    assert script.engine._oai_models.lora_requests == {}
    script.engine.refuses = None
    assert await script.answer(SECOND[0]) == ANSWER
    assert await script.answer(None) == ANSWER


async def test_one_that_cannot_answer_is_taken_out_of_the_engine():
    script = Script()
    script.warm_up = Failure(FailureKind.INTERNAL, "broken off")

    assert (await script.answer(FIRST[0])).kind is FailureKind.ADAPTER
    assert script.engine.loaded == script.engine._oai_models.lora_requests == {}


async def test_one_that_failed_is_not_tried_again_for_a_while():
    script = Script()
    script.engine.refuses = RuntimeError("no")
    first = await script.answer(FIRST[0])
    assert await script.answer(FIRST[0]) == first
    assert len(script.engine.history) == 1

    script.now += adapters.REFUSED_SECONDS
    script.engine.refuses = None
    assert await script.answer(FIRST[0]) == ANSWER


async def test_a_load_that_takes_too_long_fails_the_call_and_not_the_model():
    script = Script()
    script.engine.open.clear()

    found = await script.answer(FIRST[0], timeout_seconds=0.0)

    assert found == Failure(FailureKind.ADAPTER, "the adapter was not loaded within 0 s")
    script.engine.open.set()
    assert await script.answer(FIRST[0]) == ANSWER


async def test_an_answer_that_is_late_is_no_failure_of_its_adapter():
    script = Script()
    assert await script.answer(FIRST[0]) == ANSWER

    async def late(body: Any, timeout_seconds: float, adapter: Any) -> Any:
        try:
            async with asyncio.timeout(timeout_seconds):
                await asyncio.Event().wait()
        except TimeoutError:
            return Failure(FailureKind.TIMEOUT, "late")

    script.chat._chat = SimpleNamespace(answer=late)

    assert await script.answer(FIRST[0], timeout_seconds=0.01) == Failure(FailureKind.TIMEOUT, "late")


async def test_files_that_never_come_are_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("deployments.replica.adapters.READ_SECONDS", 0.0)
    script = Script()

    async def never(digest: str) -> None:
        await asyncio.Event().wait()

    found = await script.answer(FIRST[0], read=never)

    assert found.kind is FailureKind.ADAPTER
    assert found.detail.endswith("its files did not come within 0 s")
    monkeypatch.undo()
    script.now += adapters.REFUSED_SECONDS
    assert await script.answer(FIRST[0]) == ANSWER


async def test_an_engine_that_was_not_started_for_adapters_says_so():
    engine = SimpleNamespace(
        _engine_client=SimpleNamespace(vllm_config=SimpleNamespace(lora_config=None)),
        _oai_serving_chat=SimpleNamespace(renderer=SimpleNamespace(get_tokenizer=lambda: SimpleNamespace(decode=None))),
    )
    chat = adapters.adapted_chat(engine, "llama-8b", True)

    found = await chat.answer({}, 1.0, FIRST[0], absent)

    assert found == Failure(FailureKind.ADAPTER, "this engine serves no adapters")
