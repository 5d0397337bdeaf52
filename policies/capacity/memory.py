"""The memory a replica needs on each of its cards, and the rest for the KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.capacity.architecture import Architecture
from policies.capacity.machines import Gpu
from policies.capacity.quantization import GROUP, Quantization

GIB = 2**30

UTILIZATION = 0.9
"""The share of a card that vLLM may use: `gpu_memory_utilization` of the profile."""

BLOCK_TOKENS = 16
"""Tokens of a block; vLLM hands out the KV cache in such blocks."""

CONTEXT_GIB = 0.5
"""Memory of CUDA's own context and libraries on each card."""

GRAPHS_GIB = 0.75
"""Memory of the decode steps' CUDA graphs; vLLM counts them inside its share since 0.21 and warns of up to 3 GiB."""

NCCL_GIB = 0.75
"""Memory of the all-reduce buffers on each card that works with others."""

_WIDE = 2
"""Bytes of a weight, an activation or a KV entry in bf16."""


class KvDtype(StrEnum):
    """The type of the KV cache; vLLM's default is the type of the model, bf16."""

    BF16 = "bf16"
    FP8 = "fp8"

    @property
    def bytes(self) -> int:
        return _WIDE if self is KvDtype.BF16 else 1


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """A replica's memory, each figure of a single card. `kv_token_bytes` is one token of context there."""

    tensor_parallel: int
    usable_gib: float
    weights_gib: float
    overhead_gib: float
    kv_token_bytes: float

    @property
    def kv_gib(self) -> float:
        """Memory left for the KV cache; never below zero."""
        return max(0.0, self.usable_gib - self.weights_gib - self.overhead_gib)

    def sequences(self, tokens: int) -> int:
        """Return how many sequences of so many tokens each the KV cache holds at once."""
        blocks = int(self.kv_gib * GIB / self.kv_token_bytes) // BLOCK_TOKENS
        return blocks // -(-tokens // BLOCK_TOKENS)

    def needed_gib(self, sequences: int, tokens: int) -> float:
        """Return the usable memory a card must have for so many sequences of so many tokens."""
        kv = sequences * -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS * self.kv_token_bytes / GIB
        return self.weights_gib + self.overhead_gib + kv


def memory_of(
    architecture: Architecture,
    quantization: Quantization,
    kv_dtype: KvDtype,
    gpu: Gpu,
    tensor_parallel: int,
    utilization: float = UTILIZATION,
) -> ReplicaMemory:
    """Return the memory of one of the `tensor_parallel` cards among which a replica is split evenly."""
    return ReplicaMemory(
        tensor_parallel=tensor_parallel,
        usable_gib=gpu.memory_gib * utilization,
        weights_gib=_weights(architecture, quantization, tensor_parallel) / GIB,
        overhead_gib=_overhead_gib(architecture, gpu, tensor_parallel),
        kv_token_bytes=kv_token_bytes(architecture, kv_dtype, tensor_parallel),
    )


def kv_token_bytes(architecture: Architecture, kv_dtype: KvDtype, tensor_parallel: int) -> float:
    """Return the size of one token's keys and values on one card: 2 x layers x KV heads there x head size x bytes.

    With more cards than KV heads every card still holds one.
    """
    heads = max(1.0, architecture.kv_heads / tensor_parallel)
    return 2 * architecture.layers * heads * architecture.head_dim * kv_dtype.bytes


def cannot_split(architecture: Architecture, quantization: Quantization, tensor_parallel: int) -> str | None:
    """Return why vLLM refuses to split the model among so many cards, or None."""
    heads, kv_heads = architecture.heads, architecture.kv_heads
    if architecture.vocabulary < tensor_parallel:
        return f"{architecture.vocabulary} words do not split among {tensor_parallel} cards"
    if heads % tensor_parallel:
        return f"{heads} attention heads do not split among {tensor_parallel} cards"
    if kv_heads % tensor_parallel and tensor_parallel % kv_heads:
        return f"{kv_heads} KV heads neither split among {tensor_parallel} cards nor repeat on them"
    if architecture.intermediate % tensor_parallel:
        return f"{architecture.intermediate} columns do not split among {tensor_parallel} cards"
    if quantization.is_grouped and architecture.intermediate // tensor_parallel % GROUP:
        return f"{architecture.intermediate // tensor_parallel} columns a card are no whole groups of {GROUP}"
    return None


def _weights(architecture: Architecture, quantization: Quantization, tensor_parallel: int) -> float:
    """Return the bytes on one card: layers and embeddings are split, small weights are whole on each."""
    kv_share = max(1 / tensor_parallel, 1 / architecture.kv_heads)
    split = (architecture.linear - architecture.kv_projections) / tensor_parallel
    layers = (split + architecture.kv_projections * kv_share) * quantization.weight_bytes
    return layers + (architecture.embeddings / tensor_parallel + architecture.small) * _WIDE


def _overhead_gib(architecture: Architecture, gpu: Gpu, tensor_parallel: int) -> float:
    """Add up the widest step's activations, CUDA graphs, CUDA's context and the buffers of the all-reduce.

    The widest step holds `step_tokens` tokens: four vectors of the hidden size, and gate, up and their product in each
    expert that a token visits.
    """
    inner = 3 * architecture.intermediate * architecture.experts_per_token / tensor_parallel
    activations = gpu.step_tokens * (4 * architecture.hidden + inner) * _WIDE / GIB
    return activations + GRAPHS_GIB + CONTEXT_GIB + (NCCL_GIB if tensor_parallel > 1 else 0.0)
