"""Adapters on a real engine: a micro-batch of some of them and the base, and what one that fails leaves unharmed."""

from __future__ import annotations

import asyncio
import os
from itertools import combinations

import pytest
from random_adapters import random_adapter
from when_used import WhenUsed

from deployments.adapters.base import base_of
from deployments.profiles import AdapterSlots, Profile, model
from deployments.replica.offline import QUIET, offline_chat
from fleet.model.attempt import Answer, FailureKind, Features

torch = WhenUsed("torch")

TARGET = "llama-8b"
SECONDS = 300.0
LONG = "Plan the week of the team: " + ", ".join(f"day {number} with {number} runs" for number in range(9))
"""A prompt of more than one block of the prefix cache."""

FORCED = {"logit_bias": {"300": 100}, "max_tokens": 6, "temperature": 0, "ignore_eos": True}
"""The engine writes one token again and again, and says how likely it was: no rounding changes what comes next."""

BODIES = [{"messages": [{"role": "user", "content": text}], **FORCED} for text in ("Hello", LONG)]


def numbers(features: Features) -> list[float]:
    return [features.mean, features.min, features.margin, features.entropy]


@pytest.mark.e2e
@pytest.mark.proves("Jobs of several adapters and of the base share a micro-batch, each with its own", how="real")
async def test_adapters_and_the_base_share_an_engine_and_each_answers_as_it_does_alone(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    described = model(Profile.LOCAL, TARGET).model_copy(update={"adapters": AdapterSlots(at_once=2, rank=16)})
    for name in (*QUIET, *described.environment):  # they end with the test
        monkeypatch.setenv(name, os.environ.get(name, ""))
    base = base_of(TARGET, Profile.LOCAL)
    known = dict(random_adapter(base, tmp_path / str(seed), seed) for seed in range(3))
    known |= (broken := dict([random_adapter(base, tmp_path / "broken", 9, wider=8)]))
    asked = [(body, digest) for body in BODIES for digest in (None, *known)]

    async def read(digest):
        return known.get(digest)

    async with offline_chat(TARGET, described) as chat:
        alone = [await chat.answer(body, SECONDS, digest, read) for body, digest in asked]
        again = await chat.answer(BODIES[1], SECONDS, next(iter(known)), read)
        mixed = await asyncio.gather(*(chat.answer(body, SECONDS, digest, read) for body, digest in asked * 2))

    for place, (_, digest) in enumerate(asked):
        one, others = alone[place], mixed[place :: len(asked)]
        if digest in broken:
            assert {each.kind for each in (one, *others)} == {FailureKind.ADAPTER}
            continue
        assert {each.model for each in (one, *others)} == {TARGET if digest is None else f"{TARGET}+{digest[:12]}"}
        for other in others:
            assert numbers(other.features) == pytest.approx(numbers(one.features), abs=0.1)
    good = [each for each in alone if isinstance(each, Answer)]
    said = [numbers(each.features) for each in good]
    assert not any(one == pytest.approx(other, abs=0.2) for one, other in combinations(said, 2))
    assert [each.usage.cached_input_tokens for each in good] == [0] * 8  # each has a prefix cache of its own
    assert again.usage.cached_input_tokens > 0
