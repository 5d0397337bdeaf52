"""Measures what it costs an engine to say how sure it is: log-probabilities and features on, against off.

Both ways take turns on one engine, with the sampling parameters of a replica; features are aggregated as a replica does
it. Bookkeeping per token is the same for every model, so its share falls as the model grows: besides the stand-ins it
runs Llamas of the same architecture with random weights, which compute as trained ones do. `kept` is on over off.

    python -m benchmarks.confidence [--json] [--models stand-in 110M 270M] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.report import show
from deployments.profiles import Profile, model

OUTPUT_TOKENS = 16
SHAPE = "llama-70b"
"""The stand-in whose architecture and tokenizer the larger ones share."""


@dataclass(frozen=True, slots=True)
class Size:
    """A Llama by the numbers of its config.json, with the vocabulary of a 7B; `jobs` make a round of some seconds."""

    hidden: int
    layers: int
    inner: int
    heads: int
    jobs: int
    vocabulary: int = 32_000


SIZES: Mapping[str, Size | None] = {
    "stand-in": None,
    "110M": Size(768, 12, 2048, 12, jobs=128),
    "270M": Size(1024, 18, 2816, 16, jobs=64),
}


def rates(name: str, rounds: int) -> dict[str, list[float]]:
    """Return jobs per second with confidence "off" and "on", by round; the first round of each warms up, uncounted."""
    os.environ.update({"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"})
    from vllm import LLM, SamplingParams

    from deployments.replica.chat import CANDIDATES, features_of
    from deployments.standins.tasks import examples

    size = SIZES[name]
    with TemporaryDirectory(prefix="fleet-bench-") as folder:
        llm = LLM(**_engine(size, Path(folder)))
        jobs = 512 if size is None else size.jobs
        chats = [list(example.messages) for example in examples("heldout", 0, jobs, "nudge.recognition")]
        plain = {"temperature": 0, "max_tokens": OUTPUT_TOKENS, "ignore_eos": True, "detokenize": False}
        ways = {"off": plain, "on": {**plain, "logprobs": CANDIDATES, "flat_logprobs": True}}
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds + 1):
            for way, params in ways.items():
                started = time.perf_counter()
                outputs = llm.chat(chats, SamplingParams(**params), use_tqdm=False)
                if way == "on":
                    for output in outputs:
                        features_of(output.outputs[0].logprobs)
                found[way].append(jobs / (time.perf_counter() - started))
    return {way: each[1:] for way, each in found.items()}


def _engine(size: Size | None, folder: Path) -> dict[str, object]:
    described = model(Profile.LOCAL, SHAPE)
    if size is None:
        return {"model": described.weights, **described.engine}
    for file in Path(described.weights).iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "intermediate_size": size.inner,
        "vocab_size": size.vocabulary,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads // 4,
        "head_dim": size.hidden // size.heads,
    }
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    roomy = {"kv_cache_memory_bytes": 1 << 30, "max_num_seqs": 64}
    return {"model": str(folder), "load_format": "dummy", **described.engine, **roomy}


MARK = "rates: "


def in_own_process(name: str, rounds: int) -> dict[str, list[float]]:
    """Return a model's rates, measured in a process of its own, so that its memory is free before the next one starts.

    Raises: RuntimeError with what the process wrote if it fails.
    """
    command = [sys.executable, "-m", "benchmarks.confidence", "--one", name, "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            found: dict[str, list[float]] = json.loads(line.removeprefix(MARK))
            return found
    raise RuntimeError(f"{name} failed:\n{done.stdout}\n{done.stderr}")


def measure(names: Sequence[str], rounds: int) -> dict[str, float]:
    """Return medians over the rounds; `kept` is the median of the rounds' own ratios."""
    figures: dict[str, float] = {}
    for name in names:
        found = in_own_process(name, rounds)
        for way, each in found.items():
            figures[f"{name}_{way}_jobs_per_second"] = median(each)
        figures[f"{name}_kept"] = median(on / off for on, off in zip(found["on"], found["off"], strict=True))
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=SIZES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(MARK + json.dumps(rates(given.one, given.rounds)))
        return
    show(measure(given.models, given.rounds), given.json)


if __name__ == "__main__":
    main()
