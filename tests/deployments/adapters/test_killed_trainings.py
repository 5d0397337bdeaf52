"""A training that is killed at any moment ends in the same adapter when it is started again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import deployments.adapters.train as training
from deployments.adapters.base import Base
from deployments.adapters.layout import TENSORS, UNFINISHED, read_adapter
from deployments.adapters.recipe import Recipe
from deployments.adapters.train import train
from fleet.model.errors import ConfigError


class Killed(BaseException):
    """What stands for SIGKILL."""


def in_saving(number: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Kill the training while it writes its state for the `number`th time."""

    def patch(patched: pytest.MonkeyPatch) -> None:
        save, times = training.replace_whole, iter(range(1, 100))

        def half(path: Path, write: Callable[[Path], None]) -> None:
            if next(times) < number:
                save(path, write)
                return
            made = path.with_name(f".{path.name}.0123456789abcdef")
            write(made)
            made.write_bytes(made.read_bytes()[:100])
            raise Killed

        patched.setattr(training, "replace_whole", half)

    return patch


def in_moving(patched: pytest.MonkeyPatch) -> None:
    """Kill the training while it moves what it made into its folder."""
    move = Path.replace

    def half(path: Path, target: Any) -> Path:
        if path.name == TENSORS:
            raise Killed
        return move(path, target)

    patched.setattr(Path, "replace", half)


def at_the_end(patched: pytest.MonkeyPatch) -> None:
    """Kill the training when all is in its place."""

    def killed(path: Path) -> None:
        raise Killed

    patched.setattr(training, "sync", killed)


@pytest.mark.parametrize("kill", [in_saving(1), in_saving(2), in_moving, at_the_end])
def test_a_training_that_is_killed_is_finished_by_the_next(
    kill: Callable[[pytest.MonkeyPatch], None],
    base: Base,
    data: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: Recipe,
) -> None:
    monkeypatch.setattr(training, "SAVED_EVERY", 4)
    out = tmp_path / "adapter"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill(patched)
        train(base, data, out, recipe, "plan.schedule")
    with pytest.raises(ConfigError, match=r"is missing|was not finished"):
        read_adapter(out)
    found = train(base, data, out, recipe, "plan.schedule")
    assert found.digest == read_adapter(trained).digest
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in trained.iterdir())


@pytest.mark.parametrize("left", [b"", b"PK\x03\x04 half of it", b"not a training"])
def test_a_state_that_cannot_be_read_is_refused_by_name(
    left: bytes, base: Base, data: Path, tmp_path: Path, recipe: Recipe
) -> None:
    (tmp_path / UNFINISHED).write_bytes(left)
    with pytest.raises(ConfigError, match=r"training.pt: must be a training as it was saved, and cannot be read"):
        train(base, data, tmp_path, recipe, "plan.schedule")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"seed": -1}, "--seed: must be from 0"),
        ({"seed": 2**70}, "--seed: must be from 0"),
        ({"batch": 10**9, "at_once": 1}, "--batch: must be at most 4,096"),
        ({"rate": float("nan")}, "--rate: must be above 0"),
    ],
)
def test_a_recipe_that_no_training_survives_is_refused(
    changes: dict[str, Any], rule: str, base: Base, data: Path, tmp_path: Path, recipe: Recipe
) -> None:
    with pytest.raises(ConfigError, match=rule):
        train(base, data, tmp_path / "adapter", replace(recipe, **changes), "plan.schedule")


def test_a_training_that_diverges_ends_with_a_word_and_no_adapter(
    base: Base, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    monkeypatch.setattr(training, "_step", lambda *_: float("nan"))
    with pytest.raises(ConfigError, match="--rate: is too high for these examples: the loss is nan at step 1"):
        train(base, data, tmp_path / "adapter", recipe, "plan.schedule")
    with pytest.raises(ConfigError, match="is missing"):
        read_adapter(tmp_path / "adapter")
