"""Data to learn from, and an adapter trained on it, by the smallest stand-in model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from standin_chats import write_chats

from deployments.adapters.base import Base, base_of
from deployments.adapters.recipe import Recipe
from deployments.adapters.train import train
from deployments.profiles import Profile


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
    return write_chats(tmp_path_factory.mktemp("data") / "chats.jsonl", seed=1)


@pytest.fixture(scope="session")
def trained(base: Base, data: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "schedule"
    train(base, data, folder, recipe, "plan.schedule")
    return folder


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained adapter, to be spoiled."""
    return Path(shutil.copytree(trained, tmp_path / "adapter"))
