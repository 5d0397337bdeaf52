"""The parts of the run. Each returns figures by name, and runs in a process of its own that gives the card back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.engine import Options as Load
from benchmarks.engine import chat_rates
from benchmarks.gpu import engines
from benchmarks.gpu.made import RANK, TINY, adapter, made
from fleet.settings.capacity import load_machines, read_model
from policies.capacity.machines import Gpu
from policies.capacity.memory import GIB, KvDtype, kv_token_bytes, memory_of
from policies.capacity.quantization import Quantization
from policies.capacity.roofline import JobShape, Replica, speed_of

SPAWNED: Final = "FLEET_BENCH_SPAWNED"
"""The variable with the time at which the process of a part was started."""

TARGET: Final = "made"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run. `card` is a name of policies/capacity/machines.yaml, None on a CPU or another card."""

    folder: str
    card: str | None
    dry_run: bool
    jobs: int

    @property
    def large(self) -> str:
        """The shape that is measured: 8B, and what a CPU runs in a dry run."""
        return TINY if self.dry_run else "8b"

    @property
    def small(self) -> str:
        return TINY if self.dry_run else "1b"

    @property
    def load(self) -> Load:
        return Load(TARGET, self.jobs, rounds=1 if self.dry_run else 3)

    @property
    def job(self) -> JobShape:
        """The mean job of `fleet plan`, and a shorter one where a stand-in reads no more."""
        return JobShape(40, 10) if self.dry_run else JobShape(400, 100)


Figures = dict[str, float | None]


def offline(options: Options) -> Figures:
    """Measure vLLM alone: its KV cache and its token rate beside the plan's, and the ceiling for the served parts."""
    described = made(options.large, Path(options.folder))
    engines.environment(described)
    from deployments.replica.chat import CANDIDATES

    engine = engines.start(described)
    gpu = None if options.card is None else load_machines(None).gpus[options.card]
    planned = read_model(Path(described.weights)).architecture
    figures: Figures = {"kv_tokens": engine.kv_blocks * engine.block_tokens}
    given = described.engine.get("kv_cache_memory_bytes")
    figures["kv_tokens_planned"] = _planned_tokens(planned, gpu, given)
    figures["kv_ratio"] = _over(figures["kv_tokens"], figures["kv_tokens_planned"])
    figures["tokens_per_second"] = _token_rate(engine, options)
    if gpu is not None:
        replica = Replica(planned, Quantization.BF16, KvDtype.BF16, gpu, None, 1)
        figures["tokens_per_second_planned"] = speed_of(replica, options.job, options.jobs).tokens_per_second
        figures["token_ratio"] = _over(figures["tokens_per_second"], figures["tokens_per_second_planned"])
    figures["offline_jobs_per_second"] = median(chat_rates(engine.llm, options.load, CANDIDATES))
    figures["offline_plain_jobs_per_second"] = median(chat_rates(engine.llm, options.load, None))
    return figures


def _planned_tokens(architecture: object, gpu: Gpu | None, given: float | None) -> float | None:
    """Return the tokens of KV cache by the plan's arithmetic: on a card, or in the bytes that the engine is given."""
    from policies.capacity.architecture import Architecture

    assert isinstance(architecture, Architecture)
    token = kv_token_bytes(architecture, KvDtype.BF16, 1)
    if given is not None:
        return given / token
    if gpu is None:
        return None
    return memory_of(architecture, Quantization.BF16, KvDtype.BF16, gpu, 1).kv_gib * GIB / token


def _token_rate(engine: engines.Engine, options: Options, adapters: tuple[Path | None, ...] = (None,)) -> float:
    """Return the tokens written per second with all jobs at once, after a round that warms up."""
    job = options.job
    engine.complete(options.jobs, job.prompt_tokens, 2, adapters)
    started = time.perf_counter()
    written = engine.complete(options.jobs, job.prompt_tokens, job.output_tokens, adapters)
    return written / (time.perf_counter() - started)


def served(options: Options) -> Figures:
    """Measure the fleet's call of Serve with the log-probabilities by which answers are judged."""
    rates = engines.served_rates(made(options.large, Path(options.folder)), options.load, confidence=True)
    return {"served_jobs_per_second": median(rates)}


def served_plain(options: Options) -> Figures:
    """Measure the fleet's call of Serve without them."""
    rates = engines.served_rates(made(options.large, Path(options.folder)), options.load, confidence=False)
    return {"served_plain_jobs_per_second": median(rates)}


def lora(options: Options) -> Figures:
    """Measure an engine with adapters: without one, with one for all, and with two and none mixed."""
    folder = Path(options.folder)
    described = made(options.small, folder)
    first, second = (adapter(described, folder / f"adapters-{options.small}", name) for name in ("one", "two"))
    engines.environment(described)
    engine = engines.start(described, enable_lora=True, max_loras=2, max_lora_rank=RANK)
    base = _token_rate(engine, options)
    one = _token_rate(engine, options, (first,))
    mixed = _token_rate(engine, options, (None, first, second))
    return {
        "lora_base_tokens_per_second": base,
        "lora_one_tokens_per_second": one,
        "lora_mixed_tokens_per_second": mixed,
        "lora_one_ratio": _over(one, base),
        "lora_mixed_ratio": _over(mixed, base),
    }


def cold_start(options: Options) -> Figures:
    """Time a start by its parts, from the process to the first token, with nothing compiled before."""
    begun = time.time()
    os.environ["VLLM_CACHE_ROOT"] = str(Path(options.folder) / "compiled")
    described = made(options.small, Path(options.folder), weights=True)
    engines.environment(described, telling=True)
    wrote = time.time()
    import vllm  # noqa: F401

    imported = time.time()
    engine = engines.start(described)
    started = time.time()
    engine.complete(1, 10, 1, (None,))
    figures: Figures = {
        "cold_process_seconds": begun - float(os.environ.get(SPAWNED, begun)),
        "cold_imports_seconds": imported - wrote,
        "cold_engine_seconds": started - imported,
        "cold_first_token_seconds": time.time() - started,
    }
    return figures | {f"cold_{part}_seconds": engine.told.get(part) for part in engines.TOLD}


def _over(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


@dataclass(frozen=True, slots=True)
class Part:
    """A part, and the share of the time that it may take at most."""

    run: Callable[[Options], Figures]
    share: float


PARTS: Final[Mapping[str, Part]] = {
    "offline": Part(offline, 0.28),
    "served": Part(served, 0.22),
    "served_plain": Part(served_plain, 0.18),
    "lora": Part(lora, 0.17),
    "cold_start": Part(cold_start, 0.15),
}
"""In order: what matters most comes first. The shares add up to the whole."""
