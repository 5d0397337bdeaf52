"""Starts vLLM and Serve on a model that was made: the seam at which the tests put something else."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.engine import Options as Load
from benchmarks.engine import through_handle, timed
from deployments.profiles import ModelProfile
from fleet.loopback import free_port

TOLD: Final = {
    "weights": re.compile(r"Loading weights took ([\d.]+)"),
    "compile": re.compile(r"torch\.compile took ([\d.]+)"),
    "graphs": re.compile(r"Graph capturing finished in ([\d.]+)"),
}
"""The sentences in which vLLM says how long a part of its start took."""


def environment(described: ModelProfile, telling: bool = False) -> None:
    """Set what torch and vLLM read on import, as for a replica.

    `telling` keeps all in this process, where the times of a start can be heard: it is no ceiling then, since nothing
    overlaps.
    """
    told = {"VLLM_LOGGING_LEVEL": "INFO", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if telling else {}
    os.environ.update({**described.environment, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **told})


@dataclass(frozen=True, slots=True)
class Engine:
    """vLLM's offline engine, and the seconds it said that parts of its start took."""

    llm: Any
    told: Mapping[str, float]

    @property
    def kv_blocks(self) -> int:
        return int(self._cache.num_gpu_blocks)

    @property
    def block_tokens(self) -> int:
        return int(self._cache.block_size)

    @property
    def _cache(self) -> Any:
        return self.llm.llm_engine.vllm_config.cache_config

    def complete(self, prompts: int, prompt_tokens: int, output_tokens: int, adapters: tuple[Path | None, ...]) -> int:
        """Answer prompts of random words with answers of one length, adapters in turn; return the tokens written."""
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        sampling = SamplingParams(temperature=0, max_tokens=output_tokens, ignore_eos=True, detokenize=False)
        words = [
            {"prompt_token_ids": [5 + (row + 7 * at) % 800 for at in range(prompt_tokens)]} for row in range(prompts)
        ]
        known = [each and LoRARequest(each.name, 1 + at, str(each)) for at, each in enumerate(adapters)]
        chosen = [known[row % len(known)] for row in range(prompts)] if any(known) else None
        answers = self.llm.generate(words, sampling, lora_request=chosen, use_tqdm=False)
        return sum(len(each.outputs[0].token_ids) for each in answers)


def start(described: ModelProfile, **more: Any) -> Engine:
    """Start vLLM on a model."""
    from vllm import LLM

    heard = _Heard()
    logging.getLogger("vllm").addHandler(heard)
    return Engine(LLM(model=described.weights, **{**described.engine, **more}), heard.seconds)


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.seconds: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        for part, sentence in TOLD.items():
            if found := sentence.search(record.getMessage()):
                self.seconds[part] = float(found[1])


def served_rates(described: ModelProfile, load: Load, confidence: bool) -> list[float]:
    """Return jobs per second through a Serve handle in micro-batches, by round, as a dispatcher calls it."""
    from ray import serve

    from deployments import cluster
    from deployments.app import application

    with TemporaryDirectory(prefix="fleet-gpu-") as folder:
        cluster.start(dashboard=False, http_port=free_port(), temp_dir=Path(folder))
        try:
            serve.run(application(load.target, described, confidence), name=load.target, route_prefix=f"/{load.target}")
            with asyncio.Runner() as runner:
                return timed(load, lambda: runner.run(through_handle(load)))
        finally:
            cluster.stop()
