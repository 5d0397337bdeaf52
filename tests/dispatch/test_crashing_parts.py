"""A bug that quotes what it stumbled over: what was planted reaches neither a log nor a result."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging

import pytest
import structlog

from fleet.dispatch import decide
from fleet.logs import CHATTY, configure
from fleet.model.result import Status

PROMPT = "zebraquartz"
KEY = "plantedfleetkey"
MESSAGES = {"messages": [{"role": "user", "content": PROMPT}]}


@pytest.fixture
def logged():
    """What was written to the log so far; every level is let through."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), {name: logging.getLogger(name).level for name in CHATTY})
    configure("DEBUG")
    [handler] = root.handlers
    written = io.StringIO()
    handler.setStream(written)
    yield written.getvalue
    structlog.reset_defaults()
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


def stumble(*_):
    try:
        raise KeyError(f"{KEY} {PROMPT}")
    except KeyError as error:
        raise ValueError(f"cannot make sense of {PROMPT} with {KEY}") from error


async def test_a_backend_that_raises_is_logged_without_its_words(bench, logged):
    bench.backend("llama-8b", stumble)
    [job_id] = await bench.submit(request=MESSAGES, cloud="deny")
    async with bench.running():
        result = await bench.result(job_id)
    lines = logged()
    assert result.status is Status.FAILED
    assert "backend_raised" in lines
    assert "KeyError" in lines
    assert "ValueError" in lines
    assert "in stumble" in lines
    nowhere(bench, lines)


async def test_a_decision_that_raises_is_logged_without_its_words(bench, sure, logged, monkeypatch):
    monkeypatch.setattr(decide, "next_action", stumble)
    bench.backend("llama-8b", sure)
    [job_id] = await bench.submit(request=MESSAGES)
    async with bench.running():
        result = await bench.result(job_id)
    lines = logged()
    assert (result.status, result.problem.message) == (Status.FAILED, "internal error: ValueError")
    assert "decision_failed" in lines
    nowhere(bench, lines)


def nowhere(bench, lines: str) -> None:
    """The dead letter of a job that failed by our fault holds the job; nothing else holds any of it."""
    kept = {
        stream: [message.data.decode() for message in bench.broker.stored(stream)] for stream in ("results", "ledger")
    }
    for text in (lines, json.dumps(kept)):
        assert PROMPT not in text
        assert KEY not in text


async def test_a_task_nobody_waits_for_is_logged_without_the_words_of_its_exception(logged):
    async def broken() -> None:
        stumble()

    task = asyncio.create_task(broken())
    await asyncio.wait([task])
    del task
    gc.collect()
    lines = logged()
    assert "never retrieved" in lines
    assert "ValueError" in lines
    assert PROMPT not in lines


async def test_a_group_of_exceptions_is_told_by_its_members(logged):
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(stumble))
    except ExceptionGroup:
        logging.getLogger("fleet").exception("broke")
    lines = logged()
    assert "ExceptionGroup" in lines
    assert "ValueError" in lines
    assert PROMPT not in lines
