"""Parameters counted from a config.json are those of the real model, to the last one."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

import deployments.standins
from fleet.model.errors import ConfigError
from fleet.settings.capacity import load_models, read_model
from policies.capacity.architecture import architecture_of

STANDINS = Path(deployments.standins.__file__).parent / "weights"

QWEN_25_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
QWEN_25_05B = {
    **QWEN_25_7B,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
QWEN3_8B = {
    **QWEN_25_7B,
    "model_type": "qwen3",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "attention_bias": False,
}
QWEN3_30B_A3B = {
    **QWEN3_8B,
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
MISTRAL_7B_V03 = {
    **QWEN_25_7B,
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32768,
}


@pytest.mark.proves("fleet plan counts the parameters of the fleet's models as the hub does", how="read only")
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("llama-8b", 8_030_261_248), ("llama-70b", 70_553_706_496), ("mixtral-8x7b", 46_702_792_704)],
)
def test_the_fleets_models_have_the_parameters_that_the_hub_counts(name: str, parameters: int) -> None:
    """The hub counts the tensors of the published files and shows the sum on the page of the model."""
    assert load_models()[name].architecture.parameters == parameters


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        pytest.param(QWEN_25_7B, 7_615_616_512, id="Qwen2.5-7B: biases of queries, keys and values"),
        pytest.param(QWEN_25_05B, 494_032_768, id="Qwen2.5-0.5B: one embedding"),
        pytest.param(QWEN3_8B, 8_190_735_360, id="Qwen3-8B: queries and keys normalised"),
        pytest.param(QWEN3_30B_A3B, 30_532_122_624, id="Qwen3-30B-A3B: 128 experts"),
        pytest.param(MISTRAL_7B_V03, 7_248_023_552, id="Mistral-7B-v0.3"),
    ],
)
def test_other_families_are_counted_as_exactly(config: dict[str, Any], parameters: int) -> None:
    assert architecture_of("other", config).parameters == parameters


@pytest.mark.parametrize("name", ["llama-8b", "mixtral-8x7b", "llama-70b"])
def test_a_shipped_stand_in_has_exactly_the_parameters_in_its_file(name: str) -> None:
    """A safetensors file begins with the length of a JSON header, which lists every tensor with its shape."""
    with (STANDINS / name / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    stored = sum(math.prod(tensor["shape"]) for key, tensor in header.items() if key != "__metadata__")
    served = read_model(STANDINS / name)
    assert (served.architecture.name, served.architecture.parameters) == (name, stored)


@pytest.mark.parametrize(("longest", "served"), [(131072, 8192), (8192, 8192), (512, 512)])
def test_an_unknown_model_is_served_with_a_usual_context(tmp_path: Path, longest: int, served: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**MISTRAL_7B_V03, "max_position_embeddings": longest}))
    assert read_model(tmp_path).context_tokens == served


@pytest.mark.parametrize(("biases", "more"), [({"attention_bias": True}, 4), ({"mlp_bias": True}, 7)])
def test_biases_count_one_for_each_output_of_a_projection(biases: dict[str, bool], more: int) -> None:
    """Width 1: attention has four projections with one output each, the feed-forward two of three and one of one."""
    tiny = {**MISTRAL_7B_V03, "num_attention_heads": 1, "num_key_value_heads": 1, "hidden_size": 1}
    tiny |= {"intermediate_size": 3, "num_hidden_layers": 1}
    without = architecture_of("tiny", tiny).parameters
    assert architecture_of("tiny", {**tiny, **biases}).parameters - without == more


def test_only_the_experts_that_a_token_visits_are_active() -> None:
    mixtral = load_models()["mixtral-8x7b"].architecture
    assert mixtral.active == mixtral.attention + 2 * mixtral.expert
    assert mixtral.active / mixtral.parameters == pytest.approx(0.27, abs=0.01)


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"model_type": "gpt2"}, "strange.model_type", "must be one of llama, mistral"),
        ({"model_type": None}, "strange.model_type", "got None"),
        ({"num_hidden_layers": 0}, "strange.num_hidden_layers", "whole number above zero; got 0"),
        ({"vocab_size": "many"}, "strange.vocab_size", "got 'many'"),
        ({"hidden_size": None}, "strange.hidden_size", "got None"),
        ({"intermediate_size": True}, "strange.intermediate_size", "got True"),
        ({"mlp_only_layers": [0]}, "strange.mlp_only_layers", "must be empty"),
    ],
)
def test_a_config_that_cannot_be_counted_is_named(change: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(ConfigError) as raised:
        architecture_of("strange", {**MISTRAL_7B_V03, **change})
    assert raised.value.field == field
    assert rule in raised.value.rule
