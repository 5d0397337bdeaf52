"""A replica's speed under full batches: the slower of memory and arithmetic, and what both wait for.

The efficiencies are fitted to 153 figures of NVIDIA's "TensorRT-LLM 0.17 performance overview" (Llama 3.1 8B and 70B,
Mixtral 8x7B on A100, H100 and H200, one to eight cards): they miss them by 12 % in the root mean square and by 37 % at
most. Those are full batches of equal requests on NVIDIA's own engine; vLLM was seen between 0.3 and 1.2 times as fast
as this says (`tests/policies/capacity/test_published.py` has the figures).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.capacity.architecture import Architecture
from policies.capacity.machines import Gpu, Link
from policies.capacity.memory import KvDtype, kv_token_bytes
from policies.capacity.quantization import Quantization

BF16_EFFICIENCY = 0.6
"""The share of a card's bf16 peak that its matrix products reach."""

EIGHT_BIT_EFFICIENCY = 0.55
"""Share of the fp8 and int8 peak, where the rest of a layer weighs more against a product that takes half as long."""

WEIGHTS_EFFICIENCY = 0.8
"""The share of the memory bandwidth at which weights are read."""

KV_EFFICIENCY = 0.75
"""The share of the memory bandwidth at which the KV cache is read."""

STEP_SECONDS = 1e-3
"""Seconds the engine needs once a step: schedule, start kernels, sample."""

SEQUENCE_SECONDS = 1e-5
"""Seconds the engine needs once a step for each sequence: sample, detokenise, hand on."""

FLOPS_PER_WEIGHT = 2
"""Operations per weight: a multiplication and an addition."""

_WIDE = 2


class Bound(StrEnum):
    """The resource that takes most of the time."""

    COMPUTE = "compute"
    WEIGHTS = "weights"
    KV_CACHE = "kv_cache"
    LINKS = "links"
    ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class JobShape:
    """Tokens of the mean job."""

    prompt_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Speed:
    """A replica's speed with `batch` sequences always running, all together.

    `tokens_per_second` counts the answers, `total_tokens_per_second` the prompts too, as `Serving` of a target does.
    """

    batch: int
    tokens_per_second: float
    total_tokens_per_second: float
    bound: Bound


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on the cards that serve it. `link` joins them; with one card there is none."""

    architecture: Architecture
    quantization: Quantization
    kv_dtype: KvDtype
    gpu: Gpu
    link: Link | None
    tensor_parallel: int


def speed_of(replica: Replica, job: JobShape, batch: int) -> Speed:
    """Compute the speed of continuous batching in its steady state.

    While `batch` jobs write their answers, as many prompts are read: `batch` jobs take `batch` prefills and as many
    decode steps as an answer has tokens.
    """
    spent = dict.fromkeys(Bound, 0.0)
    for bound, seconds in _prefill(replica, job.prompt_tokens).items():
        spent[bound] += batch * seconds
    context = job.prompt_tokens + job.output_tokens / 2
    for bound, seconds in _step(replica, batch, context).items():
        spent[bound] += job.output_tokens * seconds
    jobs_per_second = batch / sum(spent.values())
    return Speed(
        batch,
        jobs_per_second * job.output_tokens,
        jobs_per_second * job.tokens,
        max(spent, key=spent.__getitem__),
    )


def distinct_experts(architecture: Architecture, tokens: int) -> float:
    """Return how many experts so many tokens visit, if each visits `experts_per_token` of them at random."""
    missed = (1 - architecture.experts_per_token / architecture.experts) ** tokens
    return architecture.experts * (1 - missed)


def _prefill(replica: Replica, tokens: int) -> dict[Bound, float]:
    """Return seconds to read one prompt: its products, its attention (half of tokens x tokens), one row of output."""
    model = replica.architecture
    layers = FLOPS_PER_WEIGHT * model.active * tokens / _peak(replica)
    attention = 2 * model.layers * tokens**2 * model.heads * model.head_dim
    wide = (attention + FLOPS_PER_WEIGHT * model.embedding) / _bf16_peak(replica)
    return {Bound.COMPUTE: layers + wide, Bound.LINKS: _traffic(replica, tokens)}


def _step(replica: Replica, batch: int, context: float) -> dict[Bound, float]:
    """Return seconds of one decode step: weights are read once for the batch, the KV cache for each sequence."""
    model = replica.architecture
    compute = batch * FLOPS_PER_WEIGHT * (model.active / _peak(replica) + model.embedding / _bf16_peak(replica))
    weights = _weights_read(replica, batch) / (_bandwidth(replica) * WEIGHTS_EFFICIENCY)
    cache = kv_token_bytes(model, replica.kv_dtype, replica.tensor_parallel) * batch * context
    return {
        Bound.COMPUTE if compute > weights else Bound.WEIGHTS: max(compute, weights),
        Bound.KV_CACHE: cache / (replica.gpu.bandwidth_gb_per_second * 1e9 * KV_EFFICIENCY),
        Bound.LINKS: _hops(replica) + _traffic(replica, batch),
        Bound.ENGINE: STEP_SECONDS + batch * SEQUENCE_SECONDS,
    }


def _weights_read(replica: Replica, batch: int) -> float:
    """Return the bytes read on all cards together; the input embedding is looked up, not read."""
    model = replica.architecture
    layers = model.attention + distinct_experts(model, batch) * model.expert
    return layers * replica.quantization.weight_bytes + model.embedding * _WIDE


def _traffic(replica: Replica, tokens: int) -> float:
    """Return seconds the links need for two all-reduces a layer of one hidden vector per token.

    A ring moves 2 (n - 1) / n of the data at the bus bandwidth (nccl-tests, PERFORMANCE.md).
    """
    if replica.link is None or replica.tensor_parallel == 1:
        return 0.0
    share = 2 * (replica.tensor_parallel - 1) / replica.tensor_parallel
    sent = 2 * replica.architecture.layers * tokens * replica.architecture.hidden * _WIDE
    return share * sent / (replica.link.gb_per_second * 1e9)


def _hops(replica: Replica) -> float:
    """Return seconds of a step in which the all-reduces only wait for each other."""
    if replica.link is None or replica.tensor_parallel == 1:
        return 0.0
    return 2 * replica.architecture.layers * replica.link.microseconds * 1e-6


def _bandwidth(replica: Replica) -> float:
    return replica.gpu.bandwidth_gb_per_second * 1e9 * replica.tensor_parallel


def _bf16_peak(replica: Replica) -> float:
    return replica.gpu.bf16_tflops * 1e12 * BF16_EFFICIENCY * replica.tensor_parallel


def _peak(replica: Replica) -> float:
    """Return operations a second on the layers' weights; 4-bit weights are unpacked and multiplied in bf16."""
    eight_bit = 1e12 * EIGHT_BIT_EFFICIENCY * replica.tensor_parallel
    match replica.quantization:
        case Quantization.INT8:
            return replica.gpu.int8_tops * eight_bit
        case Quantization.FP8 if replica.gpu.fp8_tflops is not None:
            return replica.gpu.fp8_tflops * eight_bit
        case _:
            return _bf16_peak(replica)
