"""Answers of an invented base and adapter, drawn so that what the gates should find is known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from math import exp, log

from fleet.lab.gates.gates import Training, Trial
from fleet.lab.gates.outcomes import Pair, paired
from fleet.lab.gates.promise import Promised
from fleet.lab.gates.questions import Question, reference_of
from fleet.model.attempt import Answer, Features, Usage
from fleet.model.calibration import ThresholdMode
from fleet.settings.documents import load_rules

TASK, OTHER = "plan.schedule", "nudge.onboarding"
DIGEST = "a" * 64


def question(task: str, number: int, answer: str = "Both: laptop") -> Question:
    asked = {"role": "user", "content": f"{task}: which session can both join in case {number:05d}?"}
    return Question(task, (asked,), reference_of({"role": "assistant", "content": answer}))


def said(text: str, sure: float = 0.9) -> Answer:
    """An answer whose tokens have this probability each."""
    each = log(max(sure, 1e-9))
    features = Features(4 * each, each, each, each, each, 4, 3.0, 0.2)
    return Answer({"role": "assistant", "content": text}, "stop", Usage(20, 5), "llama-8b", features)


def drawn(task: str, n: int, base: float, adapter: float, rng: random.Random, first: int = 0) -> list[Pair]:
    """Pairs in which each model is right with its probability, and seldom sure of what is wrong.

    Minus the logarithms of the tokens' probabilities are exponential, so the log-odds of being right are linear in them
    and a calibration can be exact.
    """

    def answer(right: float) -> Answer:
        good = rng.random() < right
        return said("Both: laptop" if good else "Both: badge", exp(-rng.expovariate(20.0 if good else 1.5)))

    return [paired(question(task, first + row), answer(base), answer(adapter)) for row in range(n)]


def training(rows: int = 20, claimed: str | None = "d1", texts: Sequence[str] = ()) -> Training:
    prompts = [f"{TASK}: another case {number:05d} of training" for number in range(rows)]
    return Training(prompts, [*prompts, *texts], "d1", claimed)


def trial(pairs: Sequence[Pair], serves: Sequence[str] = (), seen: Training | None = None) -> Trial:
    return Trial(TASK, frozenset(serves), pairs, seen or training(), base_seconds=10.0, adapter_seconds=15.0)


def promised(risk: float = 0.1, mode: ThresholdMode = ThresholdMode.GUARANTEE) -> Promised:
    rules = load_rules(None, None, "local")
    rules = replace(rules, confidence=replace(rules.confidence, mode=mode, risk=risk))
    return Promised(rules.catalogue.targets["llama-8b"], DIGEST, rules, 1000.0)


def as_style(made: Trial) -> Trial:
    return replace(made, has_style=True)
