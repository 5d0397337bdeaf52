"""Asks a stand-in through vLLM, with or without an adapter, in a process of its own that gives its memory back.

    python -m benchmarks.learning_loop.engines TARGET QUESTIONS ANSWERS [ADAPTER]

reads messages and writes answers as JSON lines, with the features that a replica reports. The adapter is merged into
the weights: on a CPU vLLM adds adapters in Python, which makes an answer of a stand-in thirty times as slow at rank 64.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deployments.profiles import Profile, model
from fleet.model.attempt import Answer, Features, Usage

ANSWER_TOKENS = 40

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Told:
    """The answers to questions, in their order, and how long each took on average, start-up left out."""

    answers: Sequence[Answer]
    seconds_each: float


def ask(target: str, questions: Sequence[Messages], folder: Path, adapter: Path | None = None) -> Told:
    """Return the greedy answers of a target in a fresh process. `folder` takes what goes in and out.

    Raises: RuntimeError with what the process wrote if it fails.
    """
    asked, answered = folder / "questions.jsonl", folder / "answers.jsonl"
    asked.write_text("".join(json.dumps(list(each)) + "\n" for each in questions))
    command = [sys.executable, "-m", __spec__.name, target, str(asked), str(answered)]
    done = subprocess.run([*command, *([] if adapter is None else [str(adapter)])], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{target} failed:\n{done.stdout}\n{done.stderr}")
    seconds, *rows = map(json.loads, answered.read_text().splitlines())
    return Told([_answer(row, target) for row in rows], seconds / len(rows))


def _answer(row: Mapping[str, Any], target: str) -> Answer:
    message = {"role": "assistant", "content": row["text"]}
    usage = Usage(row["input_tokens"], row["output_tokens"])
    return Answer(message, row["finish_reason"], usage, target, Features(**row["features"]))


def main(target: str, asked: Path, answered: Path, adapter: Path | None) -> None:
    described = model(Profile.LOCAL, target)
    os.environ.update({**described.environment, "VLLM_LOGGING_LEVEL": "ERROR"})
    from vllm import LLM, SamplingParams

    from deployments.replica.chat import CANDIDATES, features_of

    with TemporaryDirectory(prefix="fleet-merged-") as folder:
        weights = described.weights if adapter is None else _merged(described.weights, adapter, folder)
        engine = LLM(model=weights, **described.engine)
        sampling = SamplingParams(temperature=0, max_tokens=ANSWER_TOKENS, logprobs=CANDIDATES, flat_logprobs=True)
        questions = [json.loads(line) for line in asked.read_text().splitlines()]
        started = time.perf_counter()
        found = engine.chat(questions, sampling, use_tqdm=False)
        seconds = time.perf_counter() - started
    rows = [_row(each, asdict(features_of(each.outputs[0].logprobs))) for each in found]
    answered.write_text("".join(json.dumps(each) + "\n" for each in (seconds, *rows)))


def _merged(weights: str, adapter: Path, folder: str) -> str:
    """Write the model with the adapter in its weights into the folder, and return it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(weights, dtype="bfloat16")
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(weights).save_pretrained(folder)
    return folder


def _row(found: Any, features: Mapping[str, float]) -> dict[str, Any]:
    said = found.outputs[0]
    usage = {"input_tokens": len(found.prompt_token_ids), "output_tokens": len(said.token_ids)}
    return {"text": said.text, "finish_reason": said.finish_reason, **usage, "features": features}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4:] else None)
