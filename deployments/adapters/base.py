"""The base model of an adapter, read from its folder: what it is, and the shapes an adapter has to fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deployments.profiles import LLAMA, Profile, model
from fleet.model.errors import ConfigError

WEIGHTS: Final = ("config.json", "tokenizer.json", "*.safetensors")
"""The files that make a model what it is."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base model of the fleet in a folder; `shapes` are (in, out) of each module that may be adapted.

    `digest` is the SHA-256 over names and contents of its configuration, tokenizer and weights.
    """

    target: str
    folder: Path
    digest: str
    layers: int
    shapes: Mapping[str, tuple[int, int]]


def base_of(target: str, profile: Profile, folder: Path | None = None) -> Base:
    """Read the base model of a target: in `folder`, or where the profile has its weights on this machine.

    Raises: ConfigError naming the target, or the field of its config.json; OSError if a file cannot be read.
    """
    described = model(profile, target)
    place = Path(described.weights) if folder is None else folder
    if not place.is_dir():
        raise ConfigError("--base", f"{target} has its weights on the hub: name a folder that holds them")
    config = json.loads((place / "config.json").read_bytes())
    if config.get("model_type") != LLAMA:
        rule = f"adapters are for models of type {LLAMA}, and {target} is of type {config.get('model_type')!r}"
        raise ConfigError("--base", rule)
    return Base(target, place, _digest(place), config["num_hidden_layers"], _shapes(config))


def _shapes(config: Mapping[str, int]) -> Mapping[str, tuple[int, int]]:
    width, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    return {
        "q_proj": (width, queries),
        "k_proj": (width, keys),
        "v_proj": (width, keys),
        "o_proj": (queries, width),
        "gate_proj": (width, inner),
        "up_proj": (width, inner),
        "down_proj": (inner, width),
    }


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted({path for pattern in WEIGHTS for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()
