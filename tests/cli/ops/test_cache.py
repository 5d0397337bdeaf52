"""`fleet cache`: what is kept, and how it is got rid of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_app import App
from typer.testing import Result

from fleet.cli.lab import cache_promises
from fleet.embedding.encoder import unit
from fleet.model.attempt import Answer, Attempt, Usage
from fleet.model.cache_entry import CacheEntry
from fleet.model.caching import AnswerScore, CacheCalibration, Near
from fleet.model.calibration import Threshold, ThresholdMode
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import LedgerEntry

Invoke = Callable[..., Result]
SHIPPED_RULES = Path(__file__).parents[3] / "policies" / "rules.yaml"
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


def test_what_the_semantic_cache_promises_is_said_with_the_counts(kept: App, invoke: Invoke) -> None:
    limit = Threshold(ThresholdMode.GUARANTEE, 1.25, 2.0, 0.01, 0.1)
    promise = CacheCalibration("v1", "acme", "chat", "e", AnswerScore(0.0, {"cosine": 1.0}, ()), limit)
    asyncio.run(kept.cache_promises.put([promise, replace(promise, tenant="globex", withdrawn="drift")]))
    *_, ours, theirs = invoke("cache", "stats").stdout.splitlines()
    assert ours == "semantic cache, acme chat: serves from 1.25 on, at most 1.0% wrong"
    assert theirs == "semantic cache, globex chat: withdrawn: drift"


class Letters:
    def encode(self, texts):
        return unit(np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts]) + 1e-3)


def test_calibrating_says_how_many_labels_are_missing(
    kept: App, invoke_json: InvokeJson, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(cache_promises, "load_encoder", lambda settings: (Letters(), "letters"))
    rules = tmp_path / "rules.yaml"
    known = yaml.safe_load(SHIPPED_RULES.read_text())
    known["tasks"]["chat"]["cache"], known["cache"]["semantic"]["tasks"] = "any", {"chat": "shadow"}
    rules.write_text(yaml.safe_dump(known))
    monkeypatch.setenv("FLEET_RULES_PATH", str(rules))
    near = Near("0" * 64, "letters", (0.9, *[0.0] * 6), 1.0, True)
    answered = Answer({}, "stop", Usage(1, 1), "m")
    attempt = Attempt(1, "llama-8b", Reason.ROUTED, 1.0, 2.0, answered, near=near)
    line = LedgerEntry("job-0000000000000009", "acme", Lane.STANDARD, 2.0, Reason.ROUTED, "chat", "pro", None, attempt)
    asyncio.run(kept.fleet.publish(line))
    [found] = invoke_json("cache", "calibrate")["promises"]
    assert (found["tenant"], found["task"], found["labels"]) == ("acme", "chat", 1)
    assert found["labels_missing"] == 299 - 1 and found["why"] == "too few labels"
    [said] = invoke_json("cache", "stats")["promises"]
    assert said["state"] == "serves nothing: 298 labels are missing"
