"""Makes models of real shapes with random weights, and adapters for them, where no weights can be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from deployments.profiles import HERE, ModelProfile, Profile, model

RANK: Final = 16
"""The rank of the adapters, a usual one."""

TINY: Final = "tiny"
"""The smallest stand-in with its own weights, for a dry run on a CPU."""

_SHARED: Final = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "dtype": "bfloat16",
    "bos_token_id": 0,
    "eos_token_id": 4,
    "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"},
}

_ONE_B: Final = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
}
"""The config.json of Llama 3.2 1B, as far as it decides size and speed."""


def config_of(shape: str) -> dict[str, Any]:
    """Return the config.json of a shape, `1b` or `8b`; that of 8B is the one that `fleet plan` plans with."""
    if shape == "1b":
        return {**_SHARED, **_ONE_B}
    planned = yaml.safe_load((HERE.parent / "policies" / "capacity" / "models.yaml").read_text())
    return {**_SHARED, **planned["llama-8b"]["config"]}


def made(shape: str, folder: Path, weights: bool = False) -> ModelProfile:
    """Return the description of a model of this shape in the folder, made there if it is not.

    Without `weights` vLLM fills it at random itself, and loads nothing.
    """
    tiny = model(Profile.LOCAL, "llama-8b")
    if shape == TINY:
        return tiny
    home = folder / shape
    if not home.exists():
        shutil.copytree(tiny.weights, home, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
        (home / "config.json").write_text(json.dumps(config_of(shape)))
        _widen(home / "tokenizer.json", config_of(shape)["vocab_size"])
    if weights and not (home / "model.safetensors").exists():
        _write_weights(home / "model.safetensors", config_of(shape))
    engine = {"dtype": "bfloat16", "max_model_len": 2048, "gpu_memory_utilization": 0.9}
    return tiny.model_copy(
        update={
            "source": str(home),
            "engine": engine if weights else {**engine, "load_format": "dummy"},
            "worker": {"GPU": 1, "CPU": 1},
            "environment": {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        }
    )


def _widen(tokenizer: Path, words: int) -> None:
    """Give the tokenizer a word for every number that the model may answer with."""
    described = json.loads(tokenizer.read_text())
    known = described["model"]["vocab"]
    taken = {*known.values(), *(each["id"] for each in described["added_tokens"])}
    known.update({f"w{number}": number for number in range(words) if number not in taken})
    tokenizer.write_text(json.dumps(described))


def _tensors(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", hidden // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        yield from ((f"{name}.{norm}_layernorm.weight", (hidden,)) for norm in ("input", "post_attention"))
        yield f"{name}.self_attn.q_proj.weight", (queries, hidden)
        yield from ((f"{name}.self_attn.{each}_proj.weight", (keys, hidden)) for each in "kv")
        yield f"{name}.self_attn.o_proj.weight", (hidden, queries)
        yield from ((f"{name}.mlp.{each}_proj.weight", (inner, hidden)) for each in ("gate", "up"))
        yield f"{name}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)


def _write_weights(path: Path, config: Mapping[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.randn(shape, dtype=torch.bfloat16) * 0.02 for name, shape in _tensors(config)}
    save_file(tensors, path, metadata={"format": "pt"})


def adapter(described: ModelProfile, folder: Path, name: str) -> Path:
    """Return the folder of a random adapter of the model's query and value projections, made if it is not there."""
    home = folder / name
    if home.exists():
        return home
    import torch
    from safetensors.torch import save_file

    home.mkdir(parents=True)
    config = json.loads((Path(described.weights) / "config.json").read_text())
    shapes = {each: shape for each, shape in _tensors(config) if each.endswith(("q_proj.weight", "v_proj.weight"))}
    tensors = {}
    for each, (outer, inner) in shapes.items():
        stem = f"base_model.model.{each.removesuffix('.weight')}"
        tensors[f"{stem}.lora_A.weight"] = torch.randn(RANK, inner, dtype=torch.bfloat16) * 0.01
        tensors[f"{stem}.lora_B.weight"] = torch.randn(outer, RANK, dtype=torch.bfloat16) * 0.01
    save_file(tensors, home / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    (home / "adapter_config.json").write_text(json.dumps(settings))
    return home
