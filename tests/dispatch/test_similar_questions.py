"""The semantic cache in a dispatcher: it compares, learns from what models answer, and serves only what is promised."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from cache_entries import entry
from cache_promise import PROMISE, TASK, stored_withdrawal
from patience import PATIENCE_SECONDS, eventually

from fleet.dispatch.semantic.lookups import LookUps, SemanticCache
from fleet.embedding.encoder import unit
from fleet.embedding.nearest import EmbeddedQuestions
from fleet.model.caching import DisownedHit, SemanticMode
from fleet.model.job import Lane
from fleet.model.reason import Reason
from fleet.model.result import Status
from fleet.model.submission import Submission
from fleet.telemetry.metrics.gauges import gauges
from policies.rules.caching import SemanticRules
from policies.rules.sections import CacheMode
from queues.jetstream.stores.promises import MemoryCachePromises
from queues.memory import MemoryDesk


class WordEncoder:
    """Counts words, each in a place of its own; waits at its gate, if it is shut."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.texts: list[str] = []

    def encode(self, texts):
        self.gate.wait(PATIENCE_SECONDS)
        self.texts += texts
        vectors = np.zeros((len(texts), 64))
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, sum(map(ord, word)) % 64] += 1.0
        return unit(vectors)


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def similar(bench, encoder, monkeypatch):
    monkeypatch.setattr("fleet.dispatch.semantic.lookups.PATIENCE_SECONDS", PATIENCE_SECONDS)  # no outcome by speed
    questions = EmbeddedQuestions(encoder, "words", bound=100)
    bench.similar = SemanticCache(questions, MemoryCachePromises())
    in_mode(bench, SemanticMode.GUARANTEE)
    yield bench
    encoder.gate.set()
    questions.close()


def in_mode(bench, mode: SemanticMode, explored: float = 1e-6) -> None:
    tasks = {**bench.rules.tasks, TASK: replace(bench.rules.tasks[TASK], cache=CacheMode.REPEATABLE)}
    semantic = SemanticRules(explored=explored, tasks={TASK: mode})
    bench.rules = replace(bench.rules, tasks=tasks, cache=replace(bench.rules.cache, semantic=semantic))


def asking(text: str, **changes) -> dict:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **changes}


async def submit(bench, number: int, text: str, desk=None, **changes) -> str:
    submission = Submission(f"job-{number:016d}", lane=Lane.INTERACTIVE, task=TASK, request=asking(text, **changes))
    await (desk or bench.desk).submit([submission])
    return submission.id


async def ask(bench, number: int, text: str, **changes):
    return await bench.result(await submit(bench, number, text, **changes))


async def learned(bench, encoder, text: str) -> None:
    """Return once the question is among those compared."""
    await eventually(lambda: text in encoder.texts)


def labels(bench) -> list[dict]:
    attempts = (line["attempt"] for line in bench.ledger())
    return [each["near"] for each in attempts if each and "same" in each.get("near", {})]


async def withdrawn(bench) -> str | None:
    return await stored_withdrawal(bench.similar.promises)


async def test_a_question_like_one_before_gets_its_answer_and_says_so(similar, encoder, sure):
    await similar.similar.promises.put([PROMISE])
    backend = similar.backend("llama-8b", sure)
    async with similar.running():
        first = await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
    assert len(backend.batches) == 1
    assert (second.status, second.reason, second.target) == (Status.SUCCEEDED, Reason.SIMILAR, "semantic")
    assert (second.answer.text, second.cost_usd) == (first.answer.text, 0.0)
    [attempt] = second.attempts
    assert (attempt.cached.job_id, attempt.cached.target) == (first.job_id, "llama-8b")


async def test_without_a_promise_a_model_is_asked_and_its_answer_is_a_label(similar, encoder, sure):
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
    assert second.target == "llama-8b"
    [label] = labels(similar)
    assert (label["same"], label["propensity"], label["encoder"], round(label["signals"][0], 2)) == (
        True,
        1.0,
        "words",
        0.8,
    )


async def test_a_paid_call_makes_the_label_where_it_ends(similar, encoder, sure):
    backend = similar.backend("gpt-4o", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
    assert second.target == "gpt-4o" and len(backend.batches) == 2
    assert [label["same"] for label in labels(similar)] == [True]


async def test_in_shadow_nothing_is_served_whatever_is_promised(similar, encoder, sure):
    in_mode(similar, SemanticMode.SHADOW)
    await similar.similar.promises.put([PROMISE])
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
    assert second.target == "llama-8b" and len(labels(similar)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "hi"}, *asking("how good is that film")["messages"]]},
        {"messages": [{"role": "system", "content": "be brief"}, *asking("how good is that film")["messages"]]},
        {"max_tokens": 7},
        {"temperature": 0.7},
    ],
)
async def test_another_system_prompt_other_limits_and_threads_are_not_answered_by_it(similar, encoder, sure, change):
    await similar.similar.promises.put([PROMISE])
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film", **change)
    assert second.target == "llama-8b" and labels(similar) == []


async def test_another_tenant_is_not_answered_by_it(similar, encoder, sure):
    await similar.similar.promises.put([PROMISE, replace(PROMISE, tenant="globex")])
    similar.backend("llama-8b", sure)
    other = MemoryDesk(similar.broker, "globex")
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        job_id = await submit(similar, 2, "how good is that film", desk=other)
        while (result := await other.result(job_id)) is None:
            await similar.broker.changed_once()
    assert result.target == "llama-8b" and labels(similar) == []


async def test_a_drawn_hit_is_served_and_a_model_answers_it_too(similar, encoder, sure):
    in_mode(similar, SemanticMode.GUARANTEE, explored=1.0)
    await similar.similar.promises.put([PROMISE])
    backend = similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
        await eventually(lambda: labels(similar))
    assert second.target == "semantic" and len(backend.batches) == 2
    [label] = labels(similar)
    assert (label["same"], label["propensity"]) == (True, 1.0)
    assert similar.broker.stored("feedback") == [], "the label is in the ledger, and no opinion of a target"


async def test_comparing_a_model_with_a_stronger_one_makes_no_label_of_the_cache(similar, encoder, sure):
    similar.rules = replace(similar.rules, shadow=replace(similar.rules.shadow, kept=1.0))
    for target in ("llama-8b", "llama-70b"):
        similar.backend(target, sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        await ask(similar, 2, "how good is that film")
        await eventually(lambda: len(similar.broker.stored("feedback")) == 2)
    assert len(labels(similar)) == 1


async def test_a_promise_that_does_not_hold_is_withdrawn_for_all(similar, encoder, sure):
    in_mode(similar, SemanticMode.GUARANTEE, explored=1.0)
    await similar.similar.promises.put([PROMISE])
    backend = similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        backend.script = lambda call: replace(sure(call), message={"role": "assistant", "content": "negative"})
        number = 2
        while (await ask(similar, number, f"how good is that film {number}")).target == "semantic":
            await eventually(lambda so_far=number - 1: len(labels(similar)) == so_far)
            number += 1
        await eventually(lambda: withdrawn(similar))
    assert number < 12
    assert [label["same"] for label in labels(similar)][: number - 2] == [False] * (number - 2)


async def test_where_users_call_hits_bad_the_answer_goes_and_then_the_promise(similar, encoder, sure):
    await similar.similar.promises.put([PROMISE])
    similar.backend("llama-8b", sure)
    async with similar.running():
        first = await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        for number in range(8):
            similar.cache.disown("acme", {first.job_id}, DisownedHit(f"job-{number}", TASK, served_at=1.0))
        await similar.cache.until(lambda kept: not kept)
        await eventually(lambda: withdrawn(similar))
        second = await ask(similar, 2, "how good is that film")
    assert second.target == "llama-8b"


async def test_what_it_compares_with_and_what_is_promised_can_be_watched(similar, encoder, sure):
    withdrawn = replace(PROMISE, tenant="globex", withdrawn="drift")
    await similar.similar.promises.put([PROMISE, withdrawn])
    similar.backend("llama-8b", sure)
    async with similar.running() as dispatcher:
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        found = list(gauges(dispatcher.snapshot(), similar.rules.catalogue.targets, 25.0))
    seen = {(each.metric.name, *point.labels): point.value for each in found for point in each.points}
    assert seen["fleet.cache_questions",] == 1
    assert (seen["fleet.cache_promises", "serving"], seen["fleet.cache_promises", "withdrawn"]) == (1, 1)


async def test_without_an_encoder_there_is_nothing_to_watch(bench, sure):
    bench.backend("llama-8b", sure)
    async with bench.running() as dispatcher:
        found = list(gauges(dispatcher.snapshot(), bench.rules.catalogue.targets, 25.0))
    assert "fleet.cache_questions" not in {each.metric.name for each in found}


async def test_a_slow_encoder_costs_no_job_its_answer(similar, encoder, sure, monkeypatch):
    monkeypatch.setattr("fleet.dispatch.semantic.lookups.PATIENCE_SECONDS", 0.05)
    await similar.similar.promises.put([PROMISE])
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        encoder.gate.clear()
        second = await ask(similar, 2, "how good is that film")
        encoder.gate.set()
    assert (second.status, second.target) == (Status.SUCCEEDED, "llama-8b")


async def test_a_broken_encoder_costs_no_job_its_answer(similar, encoder, sure):
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        encoder.encode = None
        second = await ask(similar, 2, "how good is that film")
    assert (second.status, second.target) == (Status.SUCCEEDED, "llama-8b")


async def test_questions_that_come_and_go_before_they_are_learned_are_forgotten(similar, encoder):
    look_ups = LookUps(similar.similar.questions, similar.rules, lambda: None)
    for number in range(1000):
        passing = entry(f"{number:064x}", question=f"is film {number} good", scope="faq")
        look_ups.keep(passing)
        look_ups.drop(passing)
    look_ups.keep(entry(question="how good is the film", scope="faq"))
    stop = asyncio.Event()
    running = asyncio.create_task(look_ups.run(stop))
    await learned(similar, encoder, "how good is the film")
    stop.set()
    await running
    assert encoder.texts == ["how good is the film"]


async def test_a_promise_of_less_than_the_rules_ask_for_serves_nothing(similar, encoder, sure):
    loose = replace(PROMISE, threshold=replace(PROMISE.threshold, risk=0.05))
    await similar.similar.promises.put([loose])
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
    assert second.target == "llama-8b"


class Word:
    """A verifier that says the same of all questions: a probability, nothing, or an error."""

    name = "small m@1"

    def __init__(self, word: float | Exception | None) -> None:
        self.word = word
        self.pairs: list[tuple[str, str]] = []

    async def same_answers(self, pairs):
        self.pairs += pairs
        if isinstance(self.word, Exception):
            raise self.word
        return [self.word] * len(pairs)


@pytest.mark.parametrize(
    ("word", "target"), [(0.99, "semantic"), (0.01, "llama-8b"), (None, "llama-8b"), (RuntimeError("bug"), "llama-8b")]
)
async def test_what_is_grey_is_served_only_with_the_verifiers_word(similar, encoder, sure, word, target):
    verifier = Word(word)
    similar.similar = replace(similar.similar, verifier=verifier)
    await similar.similar.promises.put([replace(PROMISE, grey=(0.0, 1.0), verifier=verifier.name)])
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "how good is that film")
    assert (second.status, second.target) == (Status.SUCCEEDED, target)
    assert verifier.pairs == [("how good is that film", "how good is the film")]
    if isinstance(word, float) and target == "llama-8b":
        [label] = labels(similar)
        assert (label["verifier"], label["verified"]) == (verifier.name, word)


async def test_nobody_is_asked_about_questions_that_are_not_alike(similar, encoder, sure):
    verifier = Word(0.99)
    similar.similar = replace(similar.similar, verifier=verifier)
    similar.backend("llama-8b", sure)
    async with similar.running():
        await ask(similar, 1, "how good is the film")
        await learned(similar, encoder, "how good is the film")
        second = await ask(similar, 2, "where can one buy tickets tonight please")
    assert second.status is Status.SUCCEEDED and verifier.pairs == []
