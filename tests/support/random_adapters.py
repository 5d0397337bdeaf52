"""Adapters of random weights: strong enough to change what a stand-in says, and made in no time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from deployments.adapters.base import Base
from deployments.adapters.layout import CONFIG, TENSORS, read_adapter

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def random_adapter(
    base: Base, folder: Path, seed: int, rank: int = 8, wider: int = 0
) -> tuple[str, Mapping[str, bytes]]:
    """Write an adapter, and return its digest and files; with `wider` inputs than the base has, no engine takes it."""
    drawn = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(base.layers):
        for module, (inner, outer) in base.shapes.items():
            part = "self_attn" if module in ATTENTION else "mlp"
            name = f"base_model.model.model.layers.{layer}.{part}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, inner + wider, generator=drawn) / 10
            tensors[f"{name}.lora_B.weight"] = torch.randn(outer, rank, generator=drawn) / 10
    folder.mkdir(parents=True)
    save_file(tensors, folder / TENSORS)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(base.shapes),
        "bias": "none",
    }
    (folder / CONFIG).write_text(json.dumps(config))
    return read_adapter(folder).digest, {path.name: path.read_bytes() for path in folder.iterdir()}
