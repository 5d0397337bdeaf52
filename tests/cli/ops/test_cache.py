"""`fleet cache`: what is kept, and how it is got rid of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_app import App
from typer.testing import Result

from fleet.model.attempt import Usage
from fleet.model.cache_entry import CacheEntry

Invoke = Callable[..., Result]
InvokeJson = Callable[..., dict[str, Any]]


@pytest.fixture
def kept(fake_app: App) -> App:
    """Three answers: two of acme, one of globex."""
    for number, (tenant, task) in enumerate([("acme", "chat"), ("acme", "classify.intent"), ("globex", "chat")]):
        at = time.time() - 3600.0
        message = {"role": "assistant", "content": f"answer {number}"}
        told = (message, "stop", "invented/8b", Usage(10, 2), "v1")
        entry = CacheEntry(tenant, f"{number:064x}", f"job-{number:016d}", task, "llama-8b", at, at + 86_400.0, *told)
        asyncio.run(fake_app.cache.put([entry]))
    return fake_app


def jobs_of(app: App) -> list[str]:
    return [entry.job_id for entry in asyncio.run(app.cache.read_all())]


def test_nothing_kept_is_said(fake_app: App, invoke: Invoke) -> None:
    assert invoke("cache", "stats").stdout == invoke("cache", "show").stdout == "no answer is kept\n"


def test_answers_are_counted_by_tenant_and_task(kept: App, invoke_json: InvokeJson) -> None:
    found = invoke_json("cache", "stats")
    assert found["answers"] == 3
    assert [(each["tenant"], each["task"], each["answers"]) for each in found["groups"]] == [
        ("acme", "chat", 1),
        ("acme", "classify.intent", 1),
        ("globex", "chat", 1),
    ]
    assert all(3590 < each["oldest_seconds"] < 4000 and each["bytes"] > 20 for each in found["groups"])


def test_a_row_says_whose_answer_it_is_and_how_long_it_is_kept(kept: App, invoke: Invoke) -> None:
    [_, row] = invoke("cache", "show", "--tenant", "globex").stdout.splitlines()
    assert row.split() == ["globex", "chat", "llama-8b", "job-0000000000000002", "60", "min", "1380", "min", "v1"]


def test_the_answer_itself_is_shown_only_where_asked(kept: App, invoke_json: InvokeJson) -> None:
    [without] = invoke_json("cache", "show", "--job", "job-0000000000000001")["answers"]
    [with_] = invoke_json("cache", "show", "--job", "job-0000000000000001", "--body")["answers"]
    assert "message" not in without and with_["message"]["content"] == "answer 1"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("--tenant", "acme"), [2]),
        (("--tenant", "acme", "--task", "chat"), [1, 2]),
        (("--task", "chat"), [1]),
        (("--job", "job-0000000000000000"), [1, 2]),
        (("--all",), []),
    ],
)
def test_a_purge_drops_what_is_named_and_nothing_else(
    kept: App, invoke_json: InvokeJson, words: tuple[str, ...], left: list[int]
) -> None:
    assert invoke_json("cache", "purge", *words)["dropped"] == 3 - len(left)
    assert jobs_of(kept) == [f"job-{number:016d}" for number in left]


@pytest.mark.parametrize("words", [(), ("--all", "--tenant", "acme")])
def test_a_purge_wants_to_know_what_of(kept: App, invoke: Invoke, words: tuple[str, ...]) -> None:
    result = invoke("cache", "purge", *words)
    assert result.exit_code == 1 and "--tenant" in result.stderr
    assert len(jobs_of(kept)) == 3
