from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_hub import FakeHub, serving
from huggingface_hub import HfApi

from deployments.weights.hub import HubModel

REPO = "somebody/small-model"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": bytes(range(256)) * 64,
    "original/consolidated.00.pth": b"the same once more",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(
        FakeHub(repos={REPO: dict(FILES)}, tokens={"hf_known", "hf_accepted"}, accepted={"hf_accepted"})
    ) as it:
        yield it


@pytest.fixture
def api(hub: FakeHub) -> Callable[..., Any]:
    """A client of the hub, with a token where one is given."""
    return lambda token=False: HfApi(endpoint=hub.url, token=token)


@pytest.fixture
def model(hub: FakeHub) -> HubModel:
    return HubModel("small", REPO, hub.commit)
