"""What a model is asked about two questions, and what its one token is worth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fleet.model.attempt import Answer, Features, Usage
from fleet.model.caching import Near
from policies.caching.signals import SIGNALS
from policies.caching.verifying import ASKED_FROM, is_asked, name_of, request_about, word_in
from policies.rules.caching import SemanticRules


def said(word: str, p: float | None) -> Answer:
    logprob = None if p is None else math.log(p)
    features = None if logprob is None else Features(*[logprob] * 5, 1, 0.0, 0.0)
    return Answer({"role": "assistant", "content": word}, "length", Usage(), "m", features)


@pytest.mark.parametrize(
    ("word", "p", "found"),
    [("yes", 0.9, 0.9), (" Yes.", 0.9, 0.9), ("no", 0.8, 0.2), ("maybe", 0.9, None), ("yes", None, None)],
)
def test_one_token_says_how_likely_both_questions_have_one_answer(word: str, p: float, found: float | None) -> None:
    assert word_in(said(word, p)) == (None if found is None else pytest.approx(found))


def test_the_request_holds_both_questions_and_asks_for_one_token() -> None:
    request = request_about("Where is {it}?", "Where are you?")
    [message] = request["messages"]
    assert "Where is {it}?" in message["content"] and "Where are you?" in message["content"]
    assert (request["max_tokens"], request["temperature"]) == (1, 0.0)


def test_only_questions_that_are_alike_are_asked_about() -> None:
    rest = [0.0] * (len(SIGNALS) - 1)
    assert is_asked(Near("e", "x", (ASKED_FROM, *rest)))
    assert not is_asked(Near("e", "x", (ASKED_FROM - 0.01, *rest)))


def test_words_of_another_revision_are_another_verifiers(rules) -> None:
    target = rules.catalogue.targets["llama-8b"]
    assert name_of(target) != name_of(replace(target, revision="another"))


@pytest.mark.parametrize("name", ["gpt-4o", "nobody"])
def test_only_a_model_of_the_fleets_own_with_probabilities_can_verify(rules, name: str) -> None:
    found = SemanticRules(verify=name).violations(rules.tasks, rules.catalogue.targets)
    assert found["verify"].startswith("must be a model of the fleet's own that gives log-probabilities: llama-8b")
    assert "verify" not in SemanticRules(verify="llama-8b").violations(rules.tasks, rules.catalogue.targets)
