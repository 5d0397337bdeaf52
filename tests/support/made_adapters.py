"""Adapters that nobody trained: they have the layout of peft and fit a base, and teach it nothing."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.adapters.base import Base, base_of
from deployments.adapters.layout import CARD, CONFIG, TENSORS
from deployments.profiles import Profile

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def base() -> Base:
    return base_of("llama-8b", Profile.LOCAL)


def make_adapter(
    folder: Path, fill: float = 0.0, rank: int = 8, task: str | None = "plan.schedule", **card: Any
) -> Path:
    """Write an adapter of one module, all numbers `fill`; adapters of other numbers have other digests."""
    fits = base()
    inner, outer = fits.shapes["q_proj"]
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": ["q_proj"], "bias": "none"}
    (folder / CONFIG).write_text(json.dumps(config))
    write_tensors(
        folder / TENSORS, {f"{MODULE}.lora_A.weight": (rank, inner), f"{MODULE}.lora_B.weight": (outer, rank)}, fill
    )
    if task is not None:
        said = {"task": task, "base": "llama-8b", "base_digest": fits.digest, "examples": 1000}
        (folder / CARD).write_text(json.dumps(said | card))
    return folder


def write_tensors(path: Path, shapes: Mapping[str, tuple[int, int]], fill: float) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, (rows, columns) in shapes.items():
        begin, end = end, end + 4 * rows * columns
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [begin, end]}
    said = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(said)) + said + struct.pack("<f", fill) * (end // 4))
