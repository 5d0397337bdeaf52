"""A config.json is planned for as vLLM would load it, or refused by the field that is not known; never guessed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.model.errors import ConfigError
from fleet.settings.capacity import load_machines, read_model
from policies.capacity.checkpoint import count_in, stored_as
from policies.capacity.plan import Served, Wish, overview
from policies.capacity.quantization import Quantization
from policies.capacity.roofline import JobShape

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}


def compressed(weights: dict[str, Any], inputs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"], **more}


INT8 = {"type": "int", "num_bits": 8}


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Any]:
    def read(config: object) -> Served:
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(config))
        return read_model(path)

    return read


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        (None, None),
        ({}, None),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, Quantization.AWQ),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, Quantization.AWQ),
        (GPTQ, Quantization.GPTQ),
        ({**GPTQ, "bits": 8}, Quantization.W8A16),
        ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, Quantization.FP8),
        ({"quant_method": "fp8", "ignored_layers": ["lm_head", "model.layers.0.mlp.gate"]}, Quantization.FP8),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, Quantization.FP8),
        (compressed({"type": "float", "num_bits": 8}, {"type": "float", "num_bits": 8}), Quantization.FP8),
        (compressed(INT8, INT8), Quantization.INT8),
        (compressed(INT8), Quantization.W8A16),
        (compressed({"type": "int", "num_bits": 4, "group_size": 128}), Quantization.GPTQ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Quantization.BITSANDBYTES),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, Quantization.W8A16),
    ],
)
def test_a_checkpoint_is_planned_in_the_weights_it_has(model: Any, section: Any, kind: Quantization | None) -> None:
    assert model({**LLAMA, "quantization_config": section}).stored is kind


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"quantization_config": [1]}, "quantization_config"),
        ({"quantization_config": {"bits": 4}}, "quantization_config.quant_method"),
        ({"quantization_config": {"quant_method": ["awq"]}}, "quantization_config.quant_method"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "quantization_config.quant_method"),
        ({"quantization_config": {**GPTQ, "bits": 3}}, "quantization_config.bits"),
        ({"quantization_config": {**GPTQ, "bits": True}}, "quantization_config.bits"),
        ({"quantization_config": {**GPTQ, "bits": None}}, "quantization_config.bits"),
        ({"quantization_config": {**GPTQ, "group_size": 32}}, "quantization_config.group_size"),
        ({"quantization_config": {**GPTQ, "dynamic": {"-:mlp": {}}}}, "quantization_config.dynamic"),
        ({"quantization_config": {"quant_method": "awq", "bits": 8}}, "quantization_config.bits"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config.load_in_4bit"),
        (
            {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
            "quantization_config.quant_algo",
        ),
        (
            {"quantization_config": {"quant_method": "fp8", "ignored_layers": ["model.layers.0.mlp.down_proj"]}},
            "quantization_config.ignored_layers",
        ),
        (
            {"quantization_config": compressed({"type": "float", "num_bits": 4})},
            "quantization_config.config_groups.0.weights.num_bits",
        ),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "quantization_config.config_groups"),
        ({"torch_dtype": "float8_e4m3fn"}, "torch_dtype"),
        ({"dtype": 16, "torch_dtype": "bfloat16"}, "dtype"),
        ({"num_attention_heads": 31}, "num_key_value_heads"),
        ({"num_attention_heads": 24}, "num_attention_heads"),
        ({"num_key_value_heads": 64}, "num_key_value_heads"),
        ({"hidden_size": 10**400}, "hidden_size"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings"),
        ({"attention_bias": 1}, "attention_bias"),
        ({"rope_scaling": 2}, "rope_scaling"),
        ({"rope_scaling": {"rope_type": "mrope"}}, "rope_scaling.rope_type"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling.original_max_position_embeddings"),
        ({"rope_scaling": {"type": "linear", "factor": "4"}}, "rope_scaling.factor"),
        ({"rope_scaling": {"type": "linear", "factor": float("nan")}}, "rope_scaling.factor"),
        ({"rope_scaling": {"type": "linear", "rope_type": "yarn"}}, "rope_scaling.type"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters.'full_attention'"),
        ({"text_config": {"model_type": "llama"}, "vision_config": {"depth": 2}}, "vision_config"),
        ({"text_config": {"model_type": "gpt2"}}, "text_config.model_type"),
        ({"text_config": "llama"}, "text_config"),
    ],
)
def test_what_is_not_known_is_refused_by_its_field(model: Any, change: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        model({**LLAMA, **change})
    assert raised.value.field == f"mine.{field}"


def test_more_experts_a_token_than_there_are_are_refused(model: Any) -> None:
    with pytest.raises(ConfigError, match="num_experts_per_tok: must be at most num_local_experts, 4; got 8"):
        model({**MIXTRAL, "num_local_experts": 4, "num_experts_per_tok": 8})


@pytest.mark.parametrize(
    ("change", "longest"),
    [
        ({}, 131072),
        ({"rope_scaling": None}, 131072),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"rope_scaling": {"type": "su", "long_factor": [1.0]}}, 131072),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4}}, 16384),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, 131072),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
            131072,
        ),
        (
            {
                "max_position_embeddings": 40960,
                "rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32768},
            },
            65536,
        ),
        ({"model_type": "mistral", "sliding_window": 4096}, 4096),
        ({"model_type": "mistral", "sliding_window": None}, 131072),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, 131072),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True}, 4096),
    ],
)
def test_the_longest_context_is_the_one_vllm_derives(model: Any, change: dict[str, Any], longest: int) -> None:
    assert model({**LLAMA, **change}).architecture.longest_context == longest


def test_a_nested_text_model_is_read_with_what_holds_for_the_whole(model: Any) -> None:
    served = model(
        {"model_type": "wrapper", "text_config": LLAMA, "quantization_config": GPTQ, "torch_dtype": "float16"}
    )
    assert (served.stored, served.architecture.layers) == (Quantization.GPTQ, 32)


def test_eight_bit_weights_take_twice_the_room_of_four(model: Any) -> None:
    machines, wish = load_machines(None), Wish(JobShape(400, 100))
    gib = {
        bits: next(
            overview(model({**LLAMA, "quantization_config": {**GPTQ, "bits": bits}}), "g5.xlarge", machines, wish)
        )
        for bits in (4, 8)
    }
    assert {bits: row.quantization for bits, row in gib.items()} == {4: Quantization.GPTQ, 8: Quantization.W8A16}
    assert gib[4].memory.weights_gib < 6 < 8 < gib[8].memory.weights_gib < 9.5


MACHINES = load_machines(None)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just(10**400)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WHOLE: dict[str, Any] = {
    **MIXTRAL,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "head_dim": 128,
    "sliding_window": None,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    "quantization_config": compressed(INT8, INT8),
}


def places(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from places(inner, (*path, key))


def changed(value: Any, path: tuple[str, ...], to: Any) -> Any:
    key, rest = path[0], path[1:]
    return {**value, key: changed(value[key], rest, to) if rest else to}


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(sorted(places(WHOLE))), to=JSON)
def test_any_change_of_a_config_gives_a_plan_or_names_a_field(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], to: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_text(json.dumps(changed(WHOLE, place, to)))
    try:
        served = read_model(path)
    except ConfigError as error:
        assert error.field.startswith("changed.")
        assert len(str(error)) < 400
        str(error).encode()
        return
    for row in overview(served, "p4d.24xlarge", MACHINES, Wish(JobShape(1, 1))):
        assert row.memory.weights_gib > 0


def test_a_message_shows_the_beginning_of_a_long_value() -> None:
    nested = {f"{'k' * 40}{n}": [{"inner": ["x" * 40] * 6}] * 6 for n in range(4)}
    with pytest.raises(ConfigError) as caught:
        count_in("config", {"layers": nested}, "layers")
    assert len(str(caught.value)) < 200
    assert str(caught.value).startswith("config.layers: must be a whole number above zero; got {'kkk")


def test_a_config_without_a_quantisation_may_have_any() -> None:
    assert stored_as("x", {}) is None
