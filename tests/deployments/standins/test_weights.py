"""The shipped weights: complete, as described, and a real ladder."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from when_used import WhenUsed

from deployments.standins.tasks import SIMPLE_TASKS, TASKS, examples

answering = WhenUsed("deployments.standins.answering")
tokenizers = WhenUsed("deployments.standins.tokenizer")

WEIGHTS = Path(__file__).parents[3] / "deployments" / "standins" / "weights"
MODELS = ("llama-8b", "mixtral-8x7b", "llama-70b")
MEGABYTE = 1_000_000
CHAT = [
    {"role": "system", "content": "You are an HR assistant."},
    {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "Kari"}]},
    {"role": "assistant", "content": "Welcome."},
    {"role": "user", "content": "Thanks"},
]
RENDERED = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\nYou are an HR assistant.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\nHello Kari<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\nWelcome.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\nThanks<|eot_id|>"
)


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((WEIGHTS / "scores.json").read_text())
    return loaded


def test_every_shipped_file_has_the_hash_that_the_scores_name(scores: dict[str, Any]) -> None:
    for name in MODELS:
        files = {path.name: path for path in (WEIGHTS / name).iterdir()}
        named = scores["models"][name]["sha256"]
        assert named == {file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in files.items()}


def test_the_card_names_every_weights_hash(scores: dict[str, Any]) -> None:
    card = (WEIGHTS / "MODEL_CARD.md").read_text()
    assert all(scores["models"][name]["sha256"]["model.safetensors"] in card for name in MODELS)


def test_all_weights_together_stay_within_25_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 25 * MEGABYTE


def test_the_scores_are_a_ladder(scores: dict[str, Any]) -> None:
    models = [scores["models"][name] for name in MODELS]
    assert models[0]["simple"] >= 0.95
    assert all(upper["overall"] - lower["overall"] >= 0.08 for lower, upper in pairwise(models))
    assert all(set(model["tasks"]) == set(TASKS) for model in models)


def test_the_three_models_share_one_tokenizer() -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert len({(WEIGHTS / name / file).read_bytes() for name in MODELS}) == 1


def test_the_chat_template_takes_all_roles_and_lists_of_text_parts() -> None:
    tokenizer = tokenizers.shared_tokenizer()
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == RENDERED
    prompted = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert prompted == RENDERED + "<|start_header_id|>assistant<|end_header_id|>\n"


@pytest.mark.parametrize("text", ["Zoë & Ümit: 你好 🙂", "  spaces\n\n\tand tabs ", "0123456789"])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = tokenizers.shared_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_small_model_reaches_its_score_on_a_sample() -> None:
    model, tokenizer = answering.load(WEIGHTS / "llama-8b")
    asked = [one for task in SIMPLE_TASKS for one in examples("heldout", seed=11, n=8, task=task)]
    answers = list(answering.answer_all(model, tokenizer, asked))
    assert sum(answer.correct for answer in answers) / len(answers) >= 0.85
