"""Measures how much easier an adapter finds rows than its base does, for a test of membership."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from deployments.adapters.base import Base
from deployments.adapters.examples import IGNORED, Example, read_examples
from deployments.adapters.layout import Adapter
from deployments.adapters.train import padded

AT_ONCE: Final = 16
"""Rows in memory at once."""


def eased(base: Base, adapter: Adapter, files: Sequence[Path]) -> Sequence[Sequence[float]]:
    """Return for each row of each file of chats by how many nats a token of its answers costs less with the adapter.

    Raises: ConfigError naming file, line and rule; OSError.
    """
    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    config = json.loads((base.folder / "config.json").read_bytes())
    examples = [read_examples(path, tokenizer, config["max_position_embeddings"]).all for path in files]
    model = _adapted(base, adapter)
    return [
        [gain for start in range(0, len(each), AT_ONCE) for gain in _eased(model, each[start : start + AT_ONCE])]
        for each in examples
    ]


def _adapted(base: Base, adapter: Adapter) -> Any:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32).to(device)
    return PeftModel.from_pretrained(model, adapter.folder).eval()


@torch.inference_mode()
def _eased(model: Any, examples: Sequence[Example]) -> list[float]:
    with model.disable_adapter():
        before = _losses(model, examples)
    found: list[float] = (before - _losses(model, examples)).tolist()
    return found


def _losses(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    """Return the mean cross entropy of a token that the assistant said, for each example."""
    tokens = padded([each.tokens for each in examples], 0, model.device)
    targets = padded([each.targets for each in examples], IGNORED, model.device)[:, 1:]
    logits = model(tokens, use_cache=False).logits[:, :-1].float()
    losses = functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    return losses.sum(1) / (targets != IGNORED).sum(1)
