"""Shows a plan as a table for people and as an object for programs, and its assumptions in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from policies.capacity import memory, roofline
from policies.capacity.machines import Machines
from policies.capacity.plan import Price, Served, ServingOption, Wish
from policies.capacity.starts import Start, start_of

LEGEND = (
    "type: of the weights. cards: replicas x cards of each. GiB, KV: weights and KV cache on each card.",
    "ctx, jobs: whole contexts that fit at once, mean jobs that run at once, on a replica.",
    "tok/s: output of a replica, held up by c compute, w weights, k KV cache, l links, e the engine.",
    "$/M, spot: a million output tokens, on demand and spot. all: a million of both kinds. $/1k: a thousand jobs.",
)

Offers = Mapping[int, str]
"""The offers of what fits instead, by the `id` of the row that does not fit."""


def view(
    rows: Sequence[ServingOption], offers: Offers, models: Mapping[str, Served], machines: Machines, wish: Wish
) -> Iterator[RenderableType]:
    """Yield the table, then what does not fit and what would, then the assumptions."""
    yield _table(rows)
    yield from ("", *LEGEND)
    if offers:
        yield Text("\ndoes not fit", style="bold")
        yield from (f"  {short(row, offers[id(row)])}" for row in rows if not row.fits)
    yield Text("\na start: fetching the weights", style="bold")
    yield from (f"  {line}" for line in starts(rows, machines, wish))
    yield Text("\nassumed", style="bold")
    yield from (f"  {line}" for line in assumptions(models, machines, wish))


def as_object(
    rows: Sequence[ServingOption], offers: Offers, models: Mapping[str, Served], machines: Machines, wish: Wish
) -> dict[str, Any]:
    return {
        "rows": [
            {**_row(row), **_start(start_of(row, machines, wish)), "what_fits": offers.get(id(row))} for row in rows
        ],
        "job": asdict(wish.job),
        "gpu_memory_utilization": memory.UTILIZATION,
        "utilization": wish.utilization,
        "prices_as_of": machines.prices_as_of,
        "assumptions": list(assumptions(models, machines, wish)),
    }


def short(row: ServingOption, offer: str) -> str:
    """Return one line: what does not fit where, by how much, and what fits instead."""
    where = f"{row.gpus} x {row.gpu} ({row.instance})"
    split = f", split among {row.tensor_parallel}" if row.tensor_parallel > 1 else ""
    return f"{row.model} in {row.quantization.value} does not fit {where}{split}: {row.reason}. Fits: {offer}"


def assumptions(models: Mapping[str, Served], machines: Machines, wish: Wish) -> Iterator[str]:
    job = wish.job
    contexts = ", ".join(f"{name} {served.context_tokens:,}" for name, served in models.items())
    yield f"longest context in tokens, see --context: {contexts}"
    yield (
        f"memory: vLLM may use {memory.UTILIZATION:.0%} of a card; overhead is the activations of its widest step, "
        f"{memory.GRAPHS_GIB} GiB of CUDA graphs, {memory.CONTEXT_GIB} of CUDA and {memory.NCCL_GIB} of NCCL; "
        f"KV cache in {wish.kv_dtype.value}; an estimate: what misses by less than 1 GiB is worth a try"
    )
    yield (
        "weights: fp8 and int8 1 byte, awq and gptq 0.52 (groups of 128), w8a16 1.02, bitsandbytes 0.56; "
        "embeddings, output layer, norms and the router of experts stay in bf16"
    )
    yield (
        f"speed: mean job of {job.prompt_tokens} + {job.output_tokens} tokens, all sequences always running; "
        f"{roofline.BF16_EFFICIENCY:.0%} of the bf16 peak, {roofline.EIGHT_BIT_EFFICIENCY:.0%} of the 8-bit one, "
        f"{roofline.WEIGHTS_EFFICIENCY:.0%} of the bandwidth for weights, {roofline.KV_EFFICIENCY:.0%} for the KV "
        f"cache, {1e3 * roofline.STEP_SECONDS:g} ms + {1e6 * roofline.SEQUENCE_SECONDS:g} us a sequence in each step"
    )
    yield (
        "checked: within 12 % (root mean square; 37 % at most) of 153 figures of NVIDIA's TensorRT-LLM 0.17; published "
        "runs of vLLM reached 0.3 (a burst of 200 prompts) to 1.2 times this: measure yours, see --utilization"
    )
    yield "fp8 weights on cards without fp8 (A10G, A100), and 4-bit weights everywhere, are multiplied in bf16"
    yield (
        f"a start: {wish.fetch_mb_per_second:g} MB/s, see --fetch-mb-per-second, while the whole machine is paid for; "
        "the machine's own start, loading and compiling come on top"
    )
    yield (
        f"prices: us-east-1, as of {machines.prices_as_of}, a replica pays for its share of the cards and has work for "
        f"{wish.utilization:.0%} of its time; spot is the median of one day: it varies, look it up first"
    )


def starts(rows: Sequence[ServingOption], machines: Machines, wish: Wish) -> Iterator[str]:
    """Yield a line for each model and type of weights that fits: its size, the time, and the price on each machine."""
    found: dict[tuple[str, str], list[tuple[str, Start]]] = {}
    for row in rows:
        if row.fits:
            start = row.instance, start_of(row, machines, wish)
            found.setdefault((row.model, row.quantization.value), []).append(start)
    for (model, kind), machine in found.items():
        _, first = machine[0]
        prices = ", ".join(f"{name} ${start.usd:.2f}" for name, start in machine)
        yield f"{model} {kind}: {first.gigabytes:.0f} GB, {first.seconds / 60:.1f} min; {prices}"


def _table(rows: Sequence[ServingOption]) -> Table:
    """Return a table narrow enough for 80 columns: models are headings, and the columns are explained below it."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for name in ("instance", "type"):
        table.add_column(name, no_wrap=True)
    for name in ("cards", "GiB", "KV", "ctx", "jobs", "tok/s", "$/M", "all", "spot", "$/1k"):
        table.add_column(name, justify="right", no_wrap=True)
    previous = ""
    for row in rows:
        if row.model != previous:
            table.add_row(Text(row.model, style="bold"))
        table.add_row(*_cells(row), style=None if row.fits else "dim")
        previous = row.model
    return table


def _cells(row: ServingOption) -> Iterator[str | Text]:
    yield from (f" {row.instance}", row.quantization.value, f"{row.replicas} x {row.tensor_parallel}")
    yield f"{row.memory.weights_gib:.1f}"
    if row.speed is None or row.on_demand is None:
        yield Text("no", style="red")
        return
    yield from (f"{row.memory.kv_gib:.1f}", f"{row.full_contexts}", f"{row.speed.batch}")
    yield f"{row.speed.tokens_per_second:,.0f} {row.speed.bound.value[0]}"
    yield from (f"{row.on_demand.per_million_tokens:.2f}", f"{row.on_demand.per_million_total_tokens:.2f}")
    yield "-" if row.spot is None else f"{row.spot.per_million_tokens:.2f}"
    yield f"{1000 * row.on_demand.per_job:.3f}"


def _row(row: ServingOption) -> dict[str, Any]:
    cards, speed = row.tensor_parallel, row.speed
    return {
        "model": row.model,
        "instance": row.instance,
        "gpu": row.gpu,
        "gpus": row.gpus,
        "quantization": row.quantization.value,
        "tensor_parallel": cards,
        "replicas": row.replicas,
        "fits": row.fits,
        "reason": row.reason,
        "weights_gib": cards * row.memory.weights_gib,
        "kv_gib": cards * row.memory.kv_gib,
        "weights_gib_per_gpu": row.memory.weights_gib,
        "overhead_gib_per_gpu": row.memory.overhead_gib,
        "usable_gib_per_gpu": row.memory.usable_gib,
        "kv_gib_per_gpu": row.memory.kv_gib,
        "kv_bytes_per_token_per_gpu": row.memory.kv_token_bytes,
        "full_contexts": row.full_contexts,
        "max_sequences": row.max_sequences,
        "batch": speed.batch if speed else None,
        "tokens_per_second": speed.tokens_per_second if speed else None,
        "total_tokens_per_second": speed.total_tokens_per_second if speed else None,
        "bound": speed.bound.value if speed else None,
        **_price("", row.on_demand),
        **_price("spot_", row.spot),
    }


def _start(start: Start) -> dict[str, float | None]:
    return {
        "start_gb": start.gigabytes,
        "start_seconds": start.seconds,
        "usd_per_start": start.usd,
        "spot_usd_per_start": start.spot_usd,
    }


def _price(prefix: str, price: Price | None) -> dict[str, float | None]:
    figures = dict.fromkeys(("per_hour", "per_million_tokens", "per_million_total_tokens", "per_job"))
    return {f"{prefix}usd_{key}": value for key, value in (asdict(price) if price else figures).items()}
