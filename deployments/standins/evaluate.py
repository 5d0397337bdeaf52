"""Scores the shipped stand-ins and writes their card: `python -m deployments.standins.evaluate`."""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from deployments.standins.answering import SIGNALS, StandInAnswer, answer_all, auroc, load
from deployments.standins.card import model_card
from deployments.standins.recipes import RECIPES, WEIGHTS, Recipe
from deployments.standins.tasks import SIMPLE_TASKS, TASKS, examples

SEED: Final = 2026
SCORES: Final = WEIGHTS / "scores.json"
CARD: Final = WEIGHTS / "MODEL_CARD.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-task", type=int, default=100, help="held-out examples of each task")
    per_task = parser.parse_args().per_task
    models = {name: score(recipe, per_task) for name, recipe in RECIPES.items()}
    scores = {"seed": SEED, "per_task": per_task, "models": models}
    SCORES.write_text(json.dumps(scores, indent=2) + "\n")
    CARD.write_text(model_card(scores))


def score(recipe: Recipe, per_task: int) -> dict[str, Any]:
    """Return the card's figures for one model: size, hashes, accuracy by task, and how well confidence ranks."""
    model, tokenizer = load(recipe.directory)
    asked = [example for task in TASKS for example in examples("heldout", SEED, per_task, task)]
    answers = list(answer_all(model, tokenizer, asked))
    by_task = {task: accuracy([one for one in answers if one.example.task == task]) for task in TASKS}
    return {
        "parameters": model.num_parameters(),
        "bytes": (recipe.directory / "model.safetensors").stat().st_size,
        "sha256": {path.name: sha256(path) for path in sorted(recipe.directory.iterdir())},
        "tasks": by_task,
        "simple": accuracy([one for one in answers if one.example.task in SIMPLE_TASKS]),
        "overall": accuracy(answers),
        "auroc": {name: round(auroc(answers, signal), 3) for name, signal in SIGNALS.items()},
    }


def accuracy(answers: list[StandInAnswer]) -> float:
    return round(sum(answer.correct for answer in answers) / len(answers), 4)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
