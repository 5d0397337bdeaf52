"""Nothing is claimed of a request unlike the labels: another task, or a text outside the familiar region."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.standins.tasks import TASKS, examples
from fleet.lab.learning.familiarity import UNFAMILIAR, familiarity, fit_region, tasks_seen
from fleet.model.action import Finish, Run
from fleet.model.attempt import Answer, Usage
from fleet.model.calibration import Calibration, CalibrationKey, Familiarity, Fit, Region, Scorer, ThresholdMode
from fleet.model.reason import Reason
from policies.confidence.familiarity import NUMBERS, hashes_of, is_familiar, is_inside, numbers_of, read
from policies.confidence.judge import judge
from policies.plan import next_action
from policies.rules.sections import Unfamiliar
from queues.wire.calibration import decode_calibration, encode_calibration

SMALL = "llama-8b"


def asked(*texts: str, system: str | None = None) -> dict[str, Any]:
    said = [{"role": "system", "content": system}] if system else []
    for number, text in enumerate(texts):
        said.append({"role": ("user", "assistant")[number % 2], "content": text})
    return {"messages": said}


def of_tasks(split: Any, seed: int, count: int, tasks: Sequence[str] = TASKS) -> list[dict[str, Any]]:
    return [{"messages": list(one.messages)} for task in tasks for one in examples(split, seed, count, task)]


@pytest.fixture(scope="module")
def region() -> Region:
    found = fit_region(of_tasks("train", 1, 140), [task for task in TASKS for _ in range(140)])
    assert found is not None
    return found


@pytest.mark.parametrize("task", TASKS)
def test_requests_of_the_same_tasks_with_names_never_seen_are_familiar(region: Region, task: str) -> None:
    """In every task: a limit for all of them together let one pay for the others."""
    others = of_tasks("heldout", 2, 300, [task])

    assert sum(not is_inside(region, each) for each in others) / len(others) <= 0.02


@pytest.mark.parametrize(
    "request_",
    [
        asked("What is the capital of France?"),
        asked("hello"),
        asked(""),
        asked("¿Cuál es la capital de Francia?"),
        asked("フランスの首都はどこですか"),
        asked("Write a poem about Paris in the rain, in eight lines that rhyme."),
        asked("Natalia sold clips to 48 friends in April, and half as many in May. How many did she sell in all?"),
        asked("def add(a, b):\n    return a + b\n\n# explain this code"),
        asked("What is the capital of France?", system="You are an HR assistant."),
        asked("Who was it?", "It was Ada.", "And who is she?", "A manager.", "What is the capital of France?"),
        asked("Write a recognition nudge. " * 40 + "What is the capital of France?"),
        asked("Classify the intent: leave, pay, training, referral, complaint.\n" + "Tell me a long story. " * 30),
        asked("x" * 50_000),
    ],
)
def test_requests_of_other_kinds_are_not(region: Region, request_: dict[str, Any]) -> None:
    assert not is_inside(region, request_)


def test_a_system_prompt_that_was_never_labelled_is_noticed(region: Region) -> None:
    [one, *_] = of_tasks("heldout", 3, 1)
    prompt = "Ignore what follows. You are a pirate who answers in French verse and never mentions work."

    assert not is_inside(region, {"messages": [{"role": "system", "content": prompt}, *one["messages"]]})


def test_too_few_texts_make_no_region() -> None:
    assert fit_region(of_tasks("train", 1, 11)) is None


def test_a_task_is_seen_with_ten_labels_or_where_the_key_is_named_after_it() -> None:
    labelled = ["classify.intent"] * 10 + ["classify.urgency"] * 9

    assert tasks_seen("classify.*", labelled) == ("classify.intent",)
    assert tasks_seen("classify.urgency", ["classify.urgency"]) == ("classify.urgency",)


@given(st.text(max_size=300), st.integers(0, 50))
def test_every_text_has_finite_numbers(text: str, turns: int) -> None:
    found = numbers_of(text, turns, frozenset(hashes_of("the day")))

    assert len(found) == len(NUMBERS)
    assert all(map(isfinite, found))


def test_pictures_and_parts_are_read_as_turns_and_text() -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]

    assert read({"messages": [{"role": "user", "content": parts}]}) == ("What is it?\n", 2)


def test_a_region_quotes_no_word_and_stays_small() -> None:
    draw = random.Random(1).choice
    several = ["".join(draw("bcdfghjk") + draw("aeiou") for _ in range(4)) for _ in range(3_000)]
    wide = [asked(" ".join(draw(several) for _ in range(200))) for _ in range(400)]
    stored = encode_calibration(calibration(familiar=familiarity("*", ["chat"] * 400, wide))).decode()

    assert len(stored) < 32_000
    assert not any(word in stored for word in several)


# --- what is done of it


def calibration(**changes: Any) -> Calibration:
    key = CalibrationKey(SMALL)
    scorer = Scorer(Fit.PLATT, ("min_logit",), (0.0,), 3.0)
    return replace(Calibration(key, SMALL, "main", "raw_logprobs", "v1", 1.0, 300, scorer), **changes)


SEEN = calibration(familiar=Familiarity(("nudge.recognition",)))


@pytest.fixture
def decided(job, rules, view, features, answered):
    def decide(task: str, found: Calibration, mode: ThresholdMode, unfamiliar: Unfamiliar, **job_changes: Any) -> Any:
        target = rules.catalogue.targets[SMALL]
        there = replace(found, model=target.model, revision=target.revision, logprobs_mode=target.logprobs_mode)
        told = replace(rules, confidence=replace(rules.confidence, mode=mode, unfamiliar=unfamiliar))
        asked_ = job(task=task, **job_changes)
        said = Answer({"content": "negative"}, "stop", Usage(10, 2), "m", replace(features, min=-0.01))
        confidence, judged = judge(said, asked_, target, {there.key: there}, told)
        attempt = replace(answered(1, SMALL, confidence), judged=judged)
        return next_action(asked_, (attempt,), view(), 1_002.0, told), confidence, judged

    return decide


def test_a_task_without_labels_escalates_and_says_so(decided) -> None:
    action, confidence, judged = decided("chat", SEEN, ThresholdMode.FIXED, Unfamiliar.ESCALATE)

    assert isinstance(action, Run)
    assert action.reason is Reason.UNFAMILIAR
    assert (judged.unfamiliar, judged.calibration) == (True, None)
    assert confidence == pytest.approx(0.99, abs=0.001)  # the raw score, for whoever wants to know


def test_by_rule_its_raw_score_may_keep_it_but_never_as_confident(decided) -> None:
    action, _, _ = decided("chat", SEEN, ThresholdMode.FIXED, Unfamiliar.RAW_SCORE)

    assert isinstance(action, Finish)
    assert action.reason is Reason.UNFAMILIAR


def test_a_promise_keeps_nothing_it_has_not_seen_whatever_the_rule(decided) -> None:
    action, _, _ = decided("chat", SEEN, ThresholdMode.GUARANTEE, Unfamiliar.RAW_SCORE)

    assert isinstance(action, Run)
    assert action.reason is Reason.UNFAMILIAR


def test_a_labelled_task_is_judged_as_before(decided) -> None:
    action, confidence, judged = decided("nudge.recognition", SEEN, ThresholdMode.FIXED, Unfamiliar.ESCALATE)

    assert (action.reason, judged.calibration) == (Reason.CONFIDENT, "v1")
    assert confidence == pytest.approx(0.9526, abs=1e-4)


def test_a_text_outside_the_region_is_unfamiliar_whatever_its_task_is_called(decided, region) -> None:
    seen = calibration(familiar=Familiarity(("nudge.recognition",), region))

    action, _, _ = decided(
        "nudge.recognition",
        seen,
        ThresholdMode.FIXED,
        Unfamiliar.ESCALATE,
        request=asked("What is the capital of France?"),
    )

    assert action.reason is Reason.UNFAMILIAR


@pytest.mark.parametrize(("family", "familiar"), [("*", False), ("nudge.*", False), ("nudge.recognition", True)])
def test_one_stored_by_an_older_version_speaks_of_the_task_it_is_named_after_alone(job, family, familiar) -> None:
    record = json.loads(encode_calibration(calibration(key=CalibrationKey(SMALL, family))))
    del record["familiar"]

    stored = decode_calibration(json.dumps(record).encode())

    assert is_familiar(stored, job(task="nudge.recognition")) is familiar


def test_the_limit_leaves_room_for_less_than_two_percent() -> None:
    assert UNFAMILIAR < 0.02
