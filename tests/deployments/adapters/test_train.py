"""Training: what is learned, that it can be repeated and interrupted, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

import deployments.adapters.train as training
from deployments.adapters.base import Base
from deployments.adapters.examples import IGNORED, read_examples
from deployments.adapters.layout import UNFINISHED, read_adapter
from deployments.adapters.recipe import MODULES, Recipe
from deployments.adapters.train import Step, train
from fleet.cli import app
from fleet.model.errors import ConfigError


def test_the_loss_of_what_is_learned_falls(base: Base, data: Path, tmp_path: Path, recipe: Recipe) -> None:
    seen: list[Step] = []
    train(base, data, tmp_path / "a", replace(recipe, steps=12, batch=10, at_once=10), "plan.schedule", seen.append)
    assert [step.number for step in seen] == list(range(1, 13))
    assert seen[-1].loss < 0.95 * seen[0].loss


def test_a_training_that_is_killed_goes_on_to_the_same_adapter(
    base: Base, data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    monkeypatch.setattr(training, "SAVED_EVERY", 2)

    def killed(step: Step) -> None:
        if step.number == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(base, data, tmp_path / "b", recipe, "plan.schedule", killed)
    assert [path.name for path in (tmp_path / "b").iterdir()] == [UNFINISHED]
    went_on: list[Step] = []
    found = train(base, data, tmp_path / "b", recipe, "plan.schedule", went_on.append)
    assert [step.number for step in went_on] == [5, 6]
    assert found.digest == read_adapter(trained).digest
    assert not (tmp_path / "b" / UNFINISHED).exists()


def test_an_unfinished_training_of_other_data_is_not_gone_on_with(
    base: Base, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    monkeypatch.setattr(training, "SAVED_EVERY", 1)

    def killed(step: Step) -> None:
        if step.number > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(base, data, tmp_path / "c", recipe, "plan.schedule", killed)
    with pytest.raises(ConfigError, match="differs in recipe: finish or remove it first"):
        train(base, data, tmp_path / "c", replace(recipe, seed=1), "plan.schedule")


def test_an_adapter_says_where_it_comes_from_and_not_where_it_was_made(base: Base, trained: Path) -> None:
    card = json.loads((trained / "fleet.json").read_text())
    assert (card["base"], card["base_digest"], card["task"]) == ("llama-8b", base.digest, "plan.schedule")
    assert (card["examples"], card["recipe"]["rank"]) == (20, 8)
    config = json.loads((trained / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "llama-8b"
    assert config["target_modules"] == list(MODULES)  # in one order: it is part of what the digest is of
    assert sorted(path.name for path in trained.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "fleet.json",
    ]


def test_what_is_there_is_never_written_over(base: Base, data: Path, adapter: Path, recipe: Recipe) -> None:
    before = read_adapter(adapter).digest
    with pytest.raises(ConfigError, match="must be a new or an empty folder"):
        train(base, data, adapter, recipe, "plan.schedule")
    assert read_adapter(adapter).digest == before


def test_only_what_the_assistant_said_is_learned(base: Base, tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two", "weight": 0},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": "four"},
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text((json.dumps({"messages": chat}) + "\n") * 10)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    example = read_examples(path, tokenizer, 512).all[0]
    learned = [token for token, target in zip(example.tokens, example.targets, strict=True) if target != IGNORED]
    assert tokenizer.decode(learned, skip_special_tokens=True).strip() == "four"
    assert learned[-1] == example.tokens[-1]  # that it ends is learned too


def test_too_few_examples_are_refused_and_long_ones_counted(
    base: Base, data: Path, tmp_path: Path, recipe: Recipe
) -> None:
    path = tmp_path / "chats.jsonl"
    long = {"messages": [{"role": "user", "content": "word " * 900}, {"role": "assistant", "content": "yes"}]}
    path.write_text("".join(data.read_text().splitlines(keepends=True)[:9]) + json.dumps(long) + "\n")
    with pytest.raises(ConfigError, match=r"at least 10 examples to learn from, not 9 \(1 are longer"):
        train(base, path, tmp_path / "e", recipe, "plan.schedule")


def test_a_rank_without_kernels_is_refused_before_anything_is_read(base: Base, tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="--rank: must be one of 1, 8, 16"):
        train(base, tmp_path / "none.jsonl", tmp_path / "f", replace(recipe, rank=24), "plan.schedule")


def test_smaller_portions_learn_the_same(base: Base, data: Path, tmp_path: Path, recipe: Recipe) -> None:
    losses: dict[int, float] = {}
    for at_once in (1, 4):
        steps: list[Step] = []
        train(base, data, tmp_path / f"p{at_once}", replace(recipe, steps=2, at_once=at_once), "t", steps.append)
        losses[at_once] = steps[-1].loss
    assert losses[1] == pytest.approx(losses[4], rel=1e-4)


def test_the_commands_train_and_check(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    command = ["adapters", "train", str(data), "--task", "plan.schedule", "-o", str(out), "--steps", "2", "--json"]
    made = json.loads(CliRunner().invoke(app, command).stdout)
    assert made["card"]["recipe"]["steps"] == 2
    assert json.loads(CliRunner().invoke(app, ["adapters", "check", str(out), "--json"]).stdout) == made
    refused = CliRunner().invoke(app, ["adapters", "check", str(out), "--base", "mixtral-8x7b"])
    assert refused.exit_code == 1
    assert "adapters are for models of type llama" in refused.stderr
