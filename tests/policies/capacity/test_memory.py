"""What a replica takes of its cards: published sizes, the splits vLLM allows, and laws."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.settings.capacity import load_machines, load_models
from policies.capacity.architecture import Architecture
from policies.capacity.memory import GIB, KvDtype, ReplicaMemory, cannot_split, kv_token_bytes, memory_of
from policies.capacity.quantization import Quantization

MODELS = {name: served.architecture for name, served in load_models().items()}
GPUS = load_machines(None).gpus
BITS = (Quantization.AWQ, Quantization.FP8, Quantization.BF16)
"""From the fewest bits to the most."""


def memory(
    model: str = "llama-8b",
    kind: Quantization = Quantization.BF16,
    gpu: str = "h100-80gb",
    cards: int = 1,
    kv_dtype: KvDtype = KvDtype.BF16,
) -> ReplicaMemory:
    return memory_of(MODELS[model], kind, kv_dtype, GPUS[gpu], cards)


@pytest.mark.parametrize(
    ("model", "kind", "gigabytes"),
    [
        ("llama-8b", "bf16", 16.06),
        ("llama-70b", "bf16", 141.1),
        ("mixtral-8x7b", "bf16", 93.4),
        ("llama-8b", "fp8", 9.08),
        ("llama-70b", "fp8", 72.7),
        ("llama-8b", "awq", 5.73),
        ("llama-70b", "awq", 39.8),
        ("mixtral-8x7b", "awq", 24.7),
    ],
)
def test_weights_take_what_the_published_files_do(model: str, kind: str, gigabytes: float) -> None:
    """Sizes on the hub: meta-llama, mistralai, RedHatAI (FP8), hugging-quants and casperhansen (AWQ, groups of 128)."""
    assert memory(model, Quantization(kind)).weights_gib * GIB / 1e9 == pytest.approx(gigabytes, rel=0.01)


@pytest.mark.proves("fleet plan counts the weights on one card of eight as vLLM reports them", how="read only")
def test_a_card_of_eight_holds_what_vllm_reports() -> None:
    """Llama 3.1 8B among eight cards, "took 1.9028 GB" (by which vLLM meant GiB): mlcommons/inference, issue 2267."""
    assert memory(cards=8).weights_gib == pytest.approx(1.9028, rel=0.02)


@pytest.mark.parametrize(("kind", "bits"), [("bf16", 16), ("fp8", 8), ("int8", 8), ("awq", 4.15625), ("gptq", 4.15625)])
def test_a_weight_takes_its_bits_and_its_share_of_scale_and_zero(kind: str, bits: float) -> None:
    """4 bits in groups of 128: 16 for the scale and 4 for the zero of each group."""
    assert 8 * Quantization(kind).weight_bytes == bits


def test_more_cards_than_kv_heads_hold_the_same_keys_and_values_twice() -> None:
    model = MODELS["llama-8b"]
    once, twice = (cards * memory(cards=cards).weights_gib * GIB - cards * model.small * 2 for cards in (8, 16))
    assert twice - once == 2 * model.kv_projections


@pytest.mark.parametrize(
    ("model", "cards", "kv_dtype", "kib"),
    [
        ("llama-8b", 1, "bf16", 128),
        ("llama-8b", 1, "fp8", 64),
        ("mixtral-8x7b", 2, "bf16", 64),
        ("llama-70b", 4, "bf16", 80),
        ("llama-70b", 8, "bf16", 40),
        ("llama-70b", 16, "bf16", 40),
    ],
)
def test_a_token_of_context_takes_its_keys_and_values(model: str, cards: int, kv_dtype: str, kib: float) -> None:
    """16 cards share 8 KV heads: each still holds one."""
    assert kv_token_bytes(MODELS[model], KvDtype(kv_dtype), cards) == kib * 1024


@pytest.mark.parametrize(
    ("model", "kind", "gpu", "cards", "context", "fits"),
    [
        ("mixtral-8x7b", "bf16", "a100-40gb", 2, 16384, False),
        ("mixtral-8x7b", "bf16", "a100-40gb", 4, 16384, True),
        ("mixtral-8x7b", "fp8", "a100-40gb", 2, 16384, True),
        ("mixtral-8x7b", "int8", "a100-40gb", 2, 16384, True),
        ("mixtral-8x7b", "awq", "a100-40gb", 2, 16384, True),
        ("mixtral-8x7b", "bf16", "a100-80gb", 2, 16384, True),
        ("llama-8b", "bf16", "a10g", 1, 8192, True),
        ("llama-8b", "bf16", "a10g", 1, 131072, False),
        ("llama-70b", "bf16", "a100-80gb", 4, 8192, True),
        ("llama-70b", "bf16", "a100-40gb", 4, 8192, False),
        ("llama-70b", "bf16", "h100-80gb", 2, 131072, False),
        ("llama-70b", "fp8", "h100-80gb", 1, 8192, False),
        ("llama-70b", "awq", "h100-80gb", 1, 8192, True),
        ("llama-70b", "fp8", "h200-141gb", 1, 8192, True),
    ],
)
def test_what_is_known_to_fit_does_and_what_is_known_not_to_does_not(
    model: str, kind: str, gpu: str, cards: int, context: int, fits: bool
) -> None:
    found = memory(model, Quantization(kind), gpu, cards)
    assert (found.sequences(context) >= 1) is fits
    assert (found.needed_gib(1, context) <= found.usable_gib) is fits


def test_the_kv_cache_is_handed_out_in_blocks() -> None:
    room = ReplicaMemory(tensor_parallel=1, usable_gib=3, weights_gib=1, overhead_gib=1, kv_token_bytes=GIB / 64)
    assert [room.sequences(tokens) for tokens in (1, 16, 17, 32, 33, 64, 65)] == [4, 4, 2, 2, 1, 1, 0]


@pytest.mark.parametrize(
    ("model", "kind", "cards", "why"),
    [
        ("llama-8b", "bf16", 8, None),
        ("llama-8b", "bf16", 32, None),
        ("llama-8b", "bf16", 3, "32 attention heads"),
        ("llama-8b", "bf16", 64, "32 attention heads"),
        ("llama-8b", "awq", 16, None),
        ("llama-8b", "awq", 32, "448 columns a card are no whole groups of 128"),
    ],
)
def test_a_model_splits_only_among_cards_its_heads_and_columns_allow(
    model: str, kind: str, cards: int, why: str | None
) -> None:
    found = cannot_split(MODELS[model], Quantization(kind), cards)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize(("kv_heads", "intermediate", "why"), [(6, 32, "6 KV heads"), (8, 33, "33 columns")])
def test_kv_heads_and_columns_must_split_too(kv_heads: int, intermediate: int, why: str) -> None:
    odd = replace(MODELS["llama-8b"], kv_heads=kv_heads, intermediate=intermediate)
    assert why in (cannot_split(odd, Quantization.BF16, 4) or "")


architectures = st.builds(
    Architecture,
    name=st.just("any"),
    layers=st.integers(1, 100),
    hidden=st.integers(64, 16384),
    heads=st.sampled_from([8, 16, 32, 64]),
    kv_heads=st.sampled_from([1, 2, 4, 8]),
    head_dim=st.sampled_from([32, 64, 128]),
    intermediate=st.integers(64, 65536),
    vocabulary=st.integers(100, 300_000),
    longest_context=st.just(131072),
    experts=st.integers(1, 64),
    tied=st.booleans(),
)
cards = st.sampled_from([1, 2, 4, 8])


@given(architectures, st.sampled_from(Quantization), st.floats(8, 200), st.floats(0, 100), cards)
def test_more_memory_never_fits_fewer_sequences(
    model: Architecture, kind: Quantization, gib: float, more: float, cards: int
) -> None:
    gpu = GPUS["a10g"]
    small, large = (
        memory_of(model, kind, KvDtype.BF16, replace(gpu, memory_gib=size), cards) for size in (gib, gib + more)
    )
    assert small.sequences(1000) <= large.sequences(1000)


@given(architectures, st.sampled_from(list(GPUS)), cards)
def test_more_bits_a_weight_never_fit_more(model: Architecture, gpu: str, cards: int) -> None:
    found = [memory_of(model, kind, KvDtype.BF16, GPUS[gpu], cards).sequences(1000) for kind in BITS]
    assert found == sorted(found, reverse=True)


@given(architectures, st.sampled_from(list(GPUS)), st.sampled_from([1, 2, 4]))
def test_more_cards_never_leave_less_of_each_to_the_weights(model: Architecture, gpu: str, cards: int) -> None:
    one, two = (memory_of(model, Quantization.BF16, KvDtype.BF16, GPUS[gpu], n) for n in (cards, 2 * cards))
    assert two.weights_gib < one.weights_gib
    assert 2 * two.weights_gib >= one.weights_gib


@given(architectures, st.integers(1, 100_000), st.integers(1, 100_000))
def test_longer_sequences_are_never_more(model: Architecture, tokens: int, more: int) -> None:
    room = memory_of(model, Quantization.AWQ, KvDtype.FP8, GPUS["h200-141gb"], 1)
    assert room.sequences(tokens) >= room.sequences(tokens + more)
