"""What a request may name as its model, as OpenAI's client reads it."""

from __future__ import annotations

import pytest
from gateways import RULES
from openai import NotFoundError


async def test_the_models_are_auto_and_the_targets(bench) -> None:
    listed = [model async for model in bench.openai.models.list()]
    assert [model.id for model in listed] == ["auto", *RULES.catalogue.targets]
    assert {model.owned_by for model in listed} >= {"fleet", "openai"}


async def test_one_model_is_found_by_its_name(bench) -> None:
    assert (await bench.openai.models.retrieve("llama-8b")).owned_by == "fleet"
    with pytest.raises(NotFoundError, match="There is no model"):
        await bench.openai.models.retrieve("gpt-17")
