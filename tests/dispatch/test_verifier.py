"""The verifier asks a target of the fleet's own in one token, about many pairs of questions at once."""

from __future__ import annotations

import math

import pytest

from fleet.dispatch.semantic.verifier import BackendVerifier
from fleet.model.attempt import Answer, Failure, FailureKind, Features, Usage
from fleet.model.call import Call
from fleet.model.job import Lane
from fleet.settings.documents import load_rules

TARGET = load_rules(None, None, "local").catalogue.targets["llama-8b"]
YES = Answer({"content": "yes"}, "length", Usage(), "m", Features(*[math.log(0.8)] * 5, 1, 0.0, 0.0))


async def test_a_model_is_asked_in_one_token_about_all_pairs_at_once():
    asked: list[Call] = []

    class Backend:
        async def run(self, calls):
            asked.extend(calls)
            yield [(1, Failure(FailureKind.TIMEOUT, "too slow"))]
            yield [(0, YES)]

    verifier = BackendVerifier(Backend(), TARGET)
    assert await verifier.same_answers([("a", "b"), ("c", "d")]) == [pytest.approx(0.8), None]
    assert [(call.request["max_tokens"], call.lane) for call in asked] == [(1, Lane.INTERACTIVE)] * 2
    assert verifier.name.startswith("llama-8b ")


async def test_a_backend_with_a_bug_has_said_nothing():
    class Backend:
        async def run(self, calls):
            yield [(0, YES)]
            raise RuntimeError("bug")

    assert await BackendVerifier(Backend(), TARGET).same_answers([("a", "b"), ("c", "d")]) == [pytest.approx(0.8), None]
