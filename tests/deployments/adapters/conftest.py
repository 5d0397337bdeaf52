"""Data to learn from, and an adapter trained on it, by the smallest stand-in model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from deployments.adapters.base import Base, base_of
from deployments.adapters.recipe import Recipe
from deployments.adapters.train import train
from deployments.profiles import Profile
from deployments.standins.tasks import examples


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(rank=8, alpha=16, rate=4e-3, steps=6, batch=4, at_once=4)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """A small model computes fastest on one thread, above all where other tests have the other cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base() -> Base:
    return base_of("llama-8b", Profile.LOCAL)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    chats = (
        [*each.messages, {"role": "assistant", "content": each.answer}]
        for each in examples("train", 1, 20, "plan.schedule")
    )
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return path


@pytest.fixture(scope="session")
def trained(base: Base, data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "schedule"
    train(base, data, folder, recipe, "plan.schedule")
    return folder


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained adapter, to be spoiled."""
    return Path(shutil.copytree(trained, tmp_path / "adapter"))
