"""What the engine would refuse when it loads an adapter is refused before, by name; its own code agrees."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from vllm.config.lora import LoRAConfig, MaxLoRARanks
from vllm.lora.peft_helper import PEFTHelper

from deployments.adapters.base import Base
from deployments.adapters.layout import CARD, CONFIG, RANKS, TENSORS, check_adapter, read_adapter
from fleet.model.errors import ConfigError


def configured(adapter: Path, **changes: Any) -> None:
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(config | changes))


def reworked(adapter: Path, change: Any) -> None:
    tensors = load_file(adapter / TENSORS)
    save_file(change(tensors), adapter / TENSORS)


def refusal_of(adapter: Path, base: Base) -> str:
    with pytest.raises(ConfigError) as refusal:
        check_adapter(read_adapter(adapter), base)
    return str(refusal.value)


def test_a_trained_adapter_fits_here_and_in_the_engine(trained: Path, base: Base) -> None:
    check_adapter(read_adapter(trained), base)
    PEFTHelper.from_local_dir(str(trained), 512).validate_legal(LoRAConfig(max_lora_rank=8))


def test_the_ranks_are_those_of_the_engine() -> None:
    assert MaxLoRARanks.__args__ == RANKS


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"r": 24}, "r: must be one of 1, 8, 16"),
        ({"use_dora": True}, "use_dora: must be empty or false"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: must be empty or false"),
        ({"bias": "all"}, "bias: must be none, not 'all'"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "target_modules: must be some of q_proj"),
        ({"peft_type": "IA3"}, "peft_type: must be LORA, not 'IA3'"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern: must be empty or false"),
    ],
)
def test_what_the_engine_cannot_serve_is_refused_by_name(
    adapter: Path, base: Base, changes: dict[str, Any], rule: str
) -> None:
    configured(adapter, **changes)
    assert rule in refusal_of(adapter, base)


def test_an_adapter_of_another_base_is_refused_even_if_it_fits(adapter: Path, base: Base) -> None:
    card = json.loads((adapter / CARD).read_text())
    (adapter / CARD).write_text(json.dumps(card | {"base_digest": "0" * 64}))
    assert "base_digest: is of another model than llama-8b" in refusal_of(adapter, base)


def test_tensors_have_to_fit_the_base(adapter: Path, base: Base, tmp_path: Path) -> None:
    def spoiled(name: str, change: Any) -> str:
        copy = Path(shutil.copytree(adapter, tmp_path / name))
        reworked(copy, change)
        return refusal_of(copy, base)

    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert "must have the shape (8, 128)" in spoiled("wide", lambda t: t | {first: torch.zeros(8, 256)})
    assert "must be one of F32, F16, BF16, not F64" in spoiled("type", lambda t: t | {first: t[first].double()})
    deep = first.replace("layers.0", "layers.7")
    assert "is of a layer that llama-8b does not have: it has 2" in spoiled(
        "deep", lambda t: t | {deep: t[first].clone()}
    )
    assert "is no LoRA weight" in spoiled("odd", lambda t: t | {"lm_head.weight": t[first].clone()})
    assert "must hold tensors" in spoiled("empty", lambda t: {})


def test_files_that_are_missing_cut_off_or_no_adapter_are_refused(adapter: Path, base: Base) -> None:
    whole = (adapter / TENSORS).read_bytes()
    (adapter / TENSORS).write_bytes(whole[:-4])
    assert "is cut off" in refusal_of(adapter, base)
    (adapter / TENSORS).write_bytes(b"not a safetensors file at all")
    assert "its header" in refusal_of(adapter, base)
    (adapter / TENSORS).write_bytes((5).to_bytes(8, "little") + b"{}}}}")
    assert "its header cannot be read" in refusal_of(adapter, base)
    (adapter / TENSORS).write_bytes(whole)
    (adapter / CONFIG).write_text("[]")
    assert "must be a JSON object" in refusal_of(adapter, base)
    (adapter / CONFIG).unlink()
    assert "adapter_config.json is missing" in refusal_of(adapter, base)


def test_the_digest_is_of_what_the_engine_reads(adapter: Path) -> None:
    before = read_adapter(adapter).digest
    (adapter / CARD).unlink()
    assert read_adapter(adapter).digest == before
    configured(adapter, lora_alpha=1)
    assert read_adapter(adapter).digest != before
