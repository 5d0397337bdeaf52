"""The size of a model from its config.json: every parameter counted, none looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.model.errors import ConfigError
from policies.capacity.checkpoint import count_in, flag_in, longest_context_of, one_of


@dataclass(frozen=True, slots=True)
class Architecture:
    """The properties of a decoder-only transformer with grouped-query attention that decide its size and its speed.

    A model without experts has one. `qkv_bias`, `output_bias` and `mlp_bias` say which projections add a bias,
    `qk_norm` whether queries and keys are normalised per head, `tied` whether the input and the output embedding are
    one matrix. `longest_context` is in tokens.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    longest_context: int
    experts: int = 1
    experts_per_token: int = 1
    tied: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    @property
    def kv_projections(self) -> int:
        """Weights of the key and value projections of all layers."""
        return self.layers * 2 * self.hidden * self.kv_heads * self.head_dim

    @property
    def attention(self) -> int:
        """Weights of all four projections of all layers."""
        return self.kv_projections + self.layers * 2 * self.hidden * self.heads * self.head_dim

    @property
    def expert(self) -> int:
        """Weights of one expert in all layers: gate, up and down."""
        return self.layers * 3 * self.hidden * self.intermediate

    @property
    def linear(self) -> int:
        """The weights that a quantisation makes smaller."""
        return self.attention + self.experts * self.expert

    @property
    def embedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def embeddings(self) -> int:
        """The input embedding, and the output one unless they are one matrix."""
        return self.embedding * (1 if self.tied else 2)

    @property
    def small(self) -> int:
        """Norms, biases and the router of the experts: too small for a quantisation to touch."""
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (norms + router + self._biases) + self.hidden

    @property
    def parameters(self) -> int:
        return self.linear + self.embeddings + self.small

    @property
    def active(self) -> int:
        """The weights of the layers that one token is multiplied with."""
        return self.attention + self.experts_per_token * self.expert

    @property
    def _biases(self) -> int:
        qkv = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        output = self.hidden if self.output_bias else 0
        return qkv + output + (2 * self.intermediate + self.hidden if self.mlp_bias else 0)


KNOWN_TYPES = ("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe")
"""The `model_type`s whose layers are those counted here."""


def architecture_of(name: str, config: Mapping[str, Any]) -> Architecture:
    """Read the architecture that a config.json of the Hugging Face hub describes.

    Raises: ConfigError, whose field is `<name>.<key of the config>`.
    """
    kind = one_of(name, config, "model_type", KNOWN_TYPES)
    if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
        raise ConfigError(f"{name}.mlp_only_layers", "must be empty: layers of two kinds are not counted")
    experts_key = {"mixtral": "num_local_experts", "qwen3_moe": "num_experts"}.get(kind)
    bias = flag_in(name, config, "attention_bias")
    hidden, heads = count_in(name, config, "hidden_size"), count_in(name, config, "num_attention_heads")
    return Architecture(
        name=name,
        layers=count_in(name, config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_kv_heads(name, config, heads),
        head_dim=_head_dim(name, config, hidden, heads),
        intermediate=count_in(name, config, "moe_intermediate_size" if kind == "qwen3_moe" else "intermediate_size"),
        vocabulary=count_in(name, config, "vocab_size"),
        longest_context=longest_context_of(name, config),
        experts=count_in(name, config, experts_key) if experts_key else 1,
        experts_per_token=_experts_per_token(name, config, experts_key) if experts_key else 1,
        tied=flag_in(name, config, "tie_word_embeddings"),
        qkv_bias=bias or kind == "qwen2",
        output_bias=bias,
        mlp_bias=flag_in(name, config, "mlp_bias"),
        qk_norm=kind in ("qwen3", "qwen3_moe"),
    )


def _kv_heads(name: str, config: Mapping[str, Any], heads: int) -> int:
    kv_heads = count_in(name, config, "num_key_value_heads", heads)
    if heads % kv_heads:
        raise ConfigError(f"{name}.num_key_value_heads", f"must divide num_attention_heads, {heads}; got {kv_heads}")
    return kv_heads


def _head_dim(name: str, config: Mapping[str, Any], hidden: int, heads: int) -> int:
    if config.get("head_dim") is None and hidden % heads:
        rule = f"must divide hidden_size, {hidden}, where there is no head_dim; got {heads}"
        raise ConfigError(f"{name}.num_attention_heads", rule)
    return count_in(name, config, "head_dim", hidden // heads)


def _experts_per_token(name: str, config: Mapping[str, Any], experts_key: str) -> int:
    experts, chosen = count_in(name, config, experts_key), count_in(name, config, "num_experts_per_tok")
    if chosen > experts:
        raise ConfigError(f"{name}.num_experts_per_tok", f"must be at most {experts_key}, {experts}; got {chosen}")
    return chosen
