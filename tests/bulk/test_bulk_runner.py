"""Every line of a file gets one line of output, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_fleet import MemoryFleet, echo, failed, succeeded

from fleet.bulk.runner import BulkProgress, run
from fleet.model.attempt import Usage
from fleet.model.errors import ConfigError, QueueUnavailable
from fleet.model.job import Job
from fleet.model.result import Result
from fleet.model.submission import Submission
from queues.memory import MemoryDesk

SOON = 0.01


class BreakingDesk(MemoryDesk):
    """Takes a number of submissions, then the broker is away."""

    left = 0

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[bool]:
        if self.left == 0:
            raise QueueUnavailable("the connection broke")
        self.left -= 1
        return await super().submit(submissions)


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    def write(*contents: Any) -> Path:
        path = tmp_path / "jobs.jsonl"
        lines = (content if isinstance(content, bytes) else json.dumps(content).encode() for content in contents)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture
def sink(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def ask(prompt: str, **more: Any) -> dict[str, Any]:
    return {"task": "chat", "messages": [{"role": "user", "content": prompt}], **more}


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Output lines by custom_id; a repeated one is an error."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    by_id = {line["custom_id"]: line for line in lines}
    assert len(by_id) == len(lines)
    return by_id


def files_beside(path: Path) -> set[Path]:
    return set(path.parent.iterdir())


def content(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


async def test_every_line_gets_its_own_answer(source: Callable[..., Path], sink: Path) -> None:
    path = source(*(ask(f"prompt {number}", custom_id=f"row-{number}") for number in range(250)))
    async with MemoryFleet().running() as fleet:
        progress = await run(fleet.desk(), path, sink, tenant="demo")
    assert {name: content(line) for name, line in read(sink).items()} == {
        f"row-{number}": f"prompt {number}" for number in range(250)
    }
    assert progress == BulkProgress(250, {"succeeded": 250})


async def test_cached_and_reasoning_tokens_are_told_in_openais_words(source: Callable[..., Path], sink: Path) -> None:
    path = source(ask("hello", custom_id="a"))
    async with MemoryFleet(lambda job: _thoughtful(succeeded(job, "hello"))).running() as fleet:
        await run(fleet.desk(), path, sink, tenant="demo")
    usage = read(sink)["a"]["response"]["body"]["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 2}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 1}


def _thoughtful(result: Result) -> Result:
    assert result.answer is not None
    answer = replace(result.answer, usage=Usage(7, 3, 4, 2, 1))
    return replace(result, answer=answer, attempts=tuple(replace(each, outcome=answer) for each in result.attempts))


COMPLETION = {
    "object": "chat.completion",
    "created": 3,
    "model": "llama-8b",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "service_tier": "flex",
}
STORY = {
    "status": "succeeded",
    "reason": "confident",
    "target": "llama-8b",
    "model": "invented/llama-8b",
    "confidence": 0.9,
    "cost_usd": 0.0,
    "attempts": 1,
}


async def test_an_answer_is_an_openai_batch_response(source: Callable[..., Path], sink: Path) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    path = source({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body})
    async with MemoryFleet().running() as fleet:
        await run(fleet.desk(), path, sink, tenant="demo")
        [job] = fleet.jobs
    answer = read(sink)["a"]
    body = answer["response"].pop("body")
    assert answer == {
        "id": job.id,
        "custom_id": "a",
        "line": 1,
        "error": None,
        "response": {"status_code": 200, "request_id": job.id},
    }
    assert body == COMPLETION | {"id": f"chatcmpl-{job.id}", "fleet": STORY | {"job_id": job.id}}


async def test_what_cannot_be_read_or_answered_is_reported_and_stops_nobody(
    source: Callable[..., Path], sink: Path
) -> None:
    path = source(
        b"{oops",
        b"",
        ask("fine", custom_id="a"),
        ask("same id again", custom_id="a"),
        ask("x" * 600_000, custom_id="long"),
        {"custom_id": "no-task", "messages": []},
        ask("no such task", custom_id="rejected") | {"task": "not a task!"},
    )
    async with MemoryFleet().running() as fleet:
        progress = await run(fleet.desk(), path, sink, tenant="demo")
    lines = read(sink)
    assert content(lines["a"]) == "fine"
    errors = {name: (line["error"]["code"], line["error"]["param"]) for name, line in lines.items() if line["error"]}
    assert errors == {
        "line-1": ("invalid_line", "line"),
        "line-4": ("invalid_line", "custom_id"),
        "long": ("invalid_line", "request"),
        "no-task": ("invalid_line", "task"),
        "rejected": ("rejected", "task"),
    }
    assert (lines["line-4"]["error"]["line"], lines["no-task"]["error"]["line"]) == (4, 6)
    assert progress == BulkProgress(6, {"unreadable": 4, "succeeded": 1, "rejected": 1})


async def test_a_job_without_an_answer_is_an_error_line(source: Callable[..., Path], sink: Path) -> None:
    async with MemoryFleet(answer=failed).running() as fleet:
        await run(fleet.desk(), source(ask("hello")), sink, tenant="demo")
    line = read(sink)["line-1"]
    assert line["response"] is None
    assert (line["error"]["code"], line["error"]["message"]) == ("failed", "every target failed")
    assert line["error"]["fleet"]["reason"] == "all_failed"


async def test_a_repeated_run_asks_nothing_again(source: Callable[..., Path], sink: Path) -> None:
    """Not even after the queue has forgotten the ids."""
    path = source(*(ask(f"prompt {number}") for number in range(20)))
    async with MemoryFleet(duplicate_window_seconds=0.0).running() as fleet:
        await run(fleet.desk(), path, sink, tenant="demo")
        first = read(sink)
        await run(fleet.desk(), path, sink, tenant="demo")
        assert len(fleet.jobs) == 20
    assert read(sink) == first


async def test_a_run_of_another_name_asks_anew(source: Callable[..., Path], sink: Path) -> None:
    path = source(ask("hello"))
    async with MemoryFleet().running() as fleet:
        await run(fleet.desk(), path, sink, tenant="demo", name="monday")
        await run(fleet.desk(), path, sink, tenant="demo", name="tuesday")
        assert len(fleet.jobs) == 2


async def test_a_run_that_broke_goes_on_where_it_was(source: Callable[..., Path], sink: Path) -> None:
    path = source(*(ask(f"prompt {number}") for number in range(20)))
    async with MemoryFleet().running() as fleet:
        desk = BreakingDesk(fleet.broker, "demo")
        desk.left = 8
        with pytest.raises(QueueUnavailable):
            await run(desk, path, sink, tenant="demo", window=4)
        assert sink not in files_beside(sink)
        await run(fleet.desk(), path, sink, tenant="demo", window=4)
    assert {content(line) for line in read(sink).values()} == {f"prompt {number}" for number in range(20)}
    assert set(Counter(job.id for job in fleet.jobs).values()) == {1}


async def test_jobs_still_waiting_from_a_run_before_are_not_submitted_twice(
    source: Callable[..., Path], sink: Path
) -> None:
    path = source(ask("hello"))
    fleet = MemoryFleet()
    first = asyncio.create_task(run(fleet.desk(), path, sink, tenant="demo"))
    second = asyncio.create_task(run(fleet.desk(), path, sink.with_name("second.jsonl"), tenant="demo"))
    async with fleet.running():
        await asyncio.gather(first, second)
    assert len(fleet.jobs) == 1


async def test_no_more_than_the_window_is_in_flight(source: Callable[..., Path], sink: Path) -> None:
    waiting: list[Job] = []
    most: list[int] = []
    full = asyncio.Event()

    def hold_back(job: Job) -> Result | None:
        """Answers nothing before there are three, so a wider window shows more."""
        waiting.append(job)
        most.append(len(waiting))
        if len(waiting) >= 3:
            full.set()
        return None

    fleet = MemoryFleet(answer=hold_back)
    path = source(*(ask(f"prompt {number}") for number in range(12)))
    async with fleet.running():
        running = asyncio.create_task(run(fleet.desk(), path, sink, tenant="demo", window=3, first_sweep_seconds=SOON))
        for _ in range(4):
            await full.wait()
            full.clear()
            held, waiting[:] = list(waiting), []
            await fleet.publish(*map(echo, held))
        await running
    assert max(most) == 3


async def test_progress_counts_up_to_the_total(source: Callable[..., Path], sink: Path) -> None:
    seen: list[BulkProgress] = []
    async with MemoryFleet().running() as fleet:
        await run(fleet.desk(), source(ask("a"), b"{oops", ask("b")), sink, tenant="demo", on_progress=seen.append)
    assert [progress.done for progress in seen] == [1, 2, 3]
    assert {progress.total for progress in seen} == {3}


async def test_an_empty_file_gives_an_empty_file(source: Callable[..., Path], sink: Path) -> None:
    assert await run(MemoryFleet().desk(), source(), sink, tenant="demo") == BulkProgress(0, {})
    assert read(sink) == {}


async def test_a_missing_file_is_an_error_of_the_file(tmp_path: Path, sink: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await run(MemoryFleet().desk(), tmp_path / "nothing.jsonl", sink, tenant="demo")


HALF = "\ud800"


@pytest.mark.parametrize(
    "bad",
    [
        ask("hi", custom_id=HALF),
        ask("hi", id=HALF),
        ask("hi", custom_id="x" * 600),
        ask("hi", custom_id=["a"]),
        ask(HALF, custom_id="a"),
        ask("hi", metadata={HALF: "v"}),
        ask("hi", own_key=HALF),
        ask("hi", cloud=[HALF]),
        {**ask("hi"), HALF: 1},
        {**ask("hi"), "task": HALF},
        ask("hi", max_cost_usd=10**400),
        b'{"task": "chat", "messages": [], "max_cost_usd": NaN}',
        b'{"task": "chat", "messages": [], "max_cost_usd": 1e999}',
        b'{"task": "chat", "request": {"messages": [], "temperature": Infinity}}',
        b'{"task": "chat", "messages": [], "custom_id": "\xed\xa0\x80"}',
        b'{"task": "chat", "messages": [], "custom_id": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_a_line_that_cannot_be_sent_or_written_is_one_error_and_the_rest_runs(
    source: Callable[..., Path], sink: Path, bad: Any
) -> None:
    path = source(ask("first", custom_id="1st"), bad, ask("last", custom_id="a\0b"))
    async with MemoryFleet().running() as fleet:
        await run(fleet.desk("acme"), path, sink, tenant="acme", first_sweep_seconds=SOON)
    found = read(sink)
    [problem] = [line for line in found.values() if line["error"] is not None]
    assert (len(found), problem["error"]["code"], problem["error"]["line"]) == (3, "invalid_line", 2)
    assert all(found[name]["response"] for name in ("1st", "a\0b"))


@pytest.mark.parametrize("spelling", ["same", "link", "hard link", "part", "link to part"])
async def test_an_output_that_would_overwrite_the_input_is_refused(
    source: Callable[..., Path], tmp_path: Path, spelling: str
) -> None:
    path = source(ask("hello"))
    before, other = path.read_bytes(), tmp_path / "other.jsonl"
    if spelling == "link":
        other.symlink_to(path)
    elif spelling == "hard link":
        other.hardlink_to(path)
    elif spelling == "link to part":
        (tmp_path / "other.jsonl.part").symlink_to(path)
    elif spelling == "part":
        path = path.rename(tmp_path / "other.jsonl.part")
    with pytest.raises(ConfigError, match="must not be the input"):
        await run(MemoryFleet().desk("acme"), path, path if spelling == "same" else other, tenant="acme")
    assert path.read_bytes() == before


def names_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


async def test_a_device_is_neither_input_nor_output(source: Callable[..., Path], sink: Path, tmp_path: Path) -> None:
    null, desk = tmp_path / "null", MemoryFleet().desk("acme")
    null.symlink_to("/dev/null")
    for incoming, outgoing in ((null, sink), (source(ask("hello")), null)):
        with pytest.raises(ConfigError, match="must be a regular file"):
            await run(desk, incoming, outgoing, tenant="acme")
    assert [name.name for name in names_in(tmp_path)] == ["jobs.jsonl", "null"]
