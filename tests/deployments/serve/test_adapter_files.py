"""The files of adapters on their way from the broker to the replicas."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from deployments.serve import files as module
from deployments.serve.backend import RayServeBackend
from deployments.serve.files import AdapterFiles
from fleet.model.attempt import Answer, Failure, FailureKind, Usage
from fleet.model.call import Call

FIRST, SECOND = "a" * 64, "b" * 64
FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights", "sources.json": b"people"}
ANSWER = Answer({"role": "assistant", "content": "hi"}, "stop", Usage(1, 1), "llama-8b")


class Store:
    """Where the files are, and what of them was put where replicas fetch it."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.put: list[dict[str, bytes]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.raises: Exception | None = None
        self.files = AdapterFiles(self.read, self.keep)

    async def read(self, digest):
        self.reads.append(digest)
        await self.open.wait()
        if self.raises is not None:
            raise self.raises
        return None if digest == SECOND else FILES

    def keep(self, files):
        self.put.append(files)
        return len(self.put)


def calls(*adapters: str | None) -> list[Call]:
    return [Call({"messages": []}, 5.0, adapter=adapter) for adapter in adapters]


async def told(ids) -> None:
    """What reaches every replica."""


async def run(handle, files, given) -> list[object]:
    return [outcome async for group in RayServeBackend(handle, told, files).run(given) for _, outcome in group]


async def test_a_call_brings_its_adapter_and_a_nested_reference_to_the_files_that_an_engine_reads(scripted_handle):
    store = Store()
    await store.files.of([FIRST])
    handle = scripted_handle([[(0, ANSWER), (1, ANSWER), (2, ANSWER)]])

    assert await run(handle, store.files, calls(FIRST, None, FIRST)) == [ANSWER] * 3

    assert handle.sent[0][3:] == ([FIRST, None, FIRST], {FIRST: [1]})
    assert store.put == [{name: FILES[name] for name in ("adapter_config.json", "adapter_model.safetensors")}]


async def test_calls_without_an_adapter_bring_nothing_more(scripted_handle):
    store = Store()
    handle = scripted_handle([[(0, ANSWER)]])

    await run(handle, store.files, calls(None))

    assert len(handle.sent[0]) == 3
    assert store.reads == []


async def test_files_are_read_once_for_all_who_ask():
    store = Store()

    found = await asyncio.gather(*(store.files.of([FIRST]) for _ in range(3)))

    assert found == [{FIRST: [1]}] * 3
    assert store.reads == [FIRST]


async def test_files_that_are_not_there_are_left_out_and_asked_for_again():
    store = Store()

    assert await store.files.of([FIRST, SECOND]) == {FIRST: [1]}
    assert await store.files.of([SECOND]) == {}
    assert store.reads == [FIRST, SECOND, SECOND]


async def test_a_broker_that_fails_leaves_them_out_and_is_logged_without_its_words():
    store = Store()
    store.raises = ConnectionError("what it said")

    with capture_logs() as lines:
        assert await store.files.of([FIRST]) == {}

    assert [(line["event"], line["digest"], line["error"]) for line in lines] == [
        ("adapter_files_not_read", FIRST, "ConnectionError")
    ]


async def test_a_broker_that_is_slow_keeps_nobody_waiting_and_its_files_are_there_later(monkeypatch):
    monkeypatch.setattr(module, "READ_SECONDS", 0.0)
    store = Store()
    store.open.clear()
    assert await store.files.of([FIRST]) == {}

    store.open.set()
    monkeypatch.undo()

    assert await store.files.of([FIRST]) == {FIRST: [1]}
    assert store.reads == [FIRST]


async def test_those_used_last_are_kept(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 1)
    store = Store()
    third = "c" * 64
    for digest in (FIRST, third, FIRST):
        await store.files.of([digest])

    assert store.reads == [FIRST, third, FIRST]


@pytest.mark.parametrize(
    ("outcome", "reads"),
    [(Failure(FailureKind.ADAPTER, "lost"), 2), (Failure(FailureKind.TIMEOUT, "late"), 1), (ANSWER, 1)],
)
async def test_files_that_a_replica_could_not_load_are_read_again(scripted_handle, outcome, reads):
    store = Store()
    for _ in range(2):
        await run(scripted_handle([[(0, outcome)]]), store.files, calls(FIRST))

    assert store.reads == [FIRST] * reads


async def test_calls_of_the_base_do_not_wait_for_files_that_others_need(scripted_handle):
    store = Store()
    store.open.clear()
    handle = scripted_handle([[(0, ANSWER), (1, ANSWER)]])
    groups = aiter(RayServeBackend(handle, told, store.files).run(calls(None, FIRST, None)))

    assert await anext(groups) == [(0, ANSWER), (2, ANSWER)]

    assert len(handle.sent) == 1
    store.open.set()
    assert [index for index, _ in await anext(groups)] == [1]
    assert handle.sent[1][3:] == ([FIRST], {FIRST: [1]})


async def test_closing_a_batch_in_two_parts_ends_both(scripted_handle):
    store = Store()
    store.open.clear()
    handle = scripted_handle([[(0, ANSWER)], [(1, ANSWER)]])
    groups = RayServeBackend(handle, told, store.files).run(calls(None, None, FIRST))
    await anext(aiter(groups))

    await groups.aclose()

    assert handle.stream.cancelled
    assert len(handle.sent) == 1
