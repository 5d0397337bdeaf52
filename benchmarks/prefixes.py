"""Measures what the prefix plan of a file saves on a real engine: the file as it comes, and in the planned order.

A file asks about many teams, some rows each, in any order; all rows of a team begin with the same 200 to 300 tokens
about it. More teams than the engine's KV cache holds, or there is nothing to gain. The whole local fleet answers the
file in both orders in turn, with other teams in every round, so that no cache holds any of them before. Per order:

    jobs_per_second   from the first row published to the last result
    hit_rate          prompt tokens that the engine read from its cache over all prompt tokens, as it counts them
    of_most           prompt tokens read from the cache over the most that any order could save
    of_most_by_model  the same according to `policies.prefix_cache`

`speedup` is planned over file, per round, and its median. `shared` is the most that could be saved over all tokens.

    python -m benchmarks.prefixes [--json] [--target llama-70b] [--teams 500] [--rows 6] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.engine import require, start_fleet
from benchmarks.report import show
from deployments.profiles import Profile, model
from fleet.app.broker import open_desk
from fleet.model.job import ChatRequest, Lane
from fleet.model.submission import Submission
from fleet.settings.documents import load_rules
from policies.prefix_cache import Prompt, most_saved_blocks, prompt_of, saved_blocks
from policies.prefixes import planned_order

TENANT = "bench"
TASK = "nudge.recognition"
CONTEXT_TOKENS = 200
"""Minimum tokens about a team."""

ANSWERS = (8, 16, 32)
"""Limits of answers, which is what the fleet expects of them."""

TIMEOUT_SECONDS = 900.0
ORDERS = ("file", "planned")


@dataclass(frozen=True, slots=True)
class FileShape:
    """The file of a round: `rows` for each of the `teams`."""

    target: str = "llama-70b"
    teams: int = 500
    rows: int = 6
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class EngineShape:
    """The tokens that the target's engine counts, and the blocks of its cache."""

    tokenizer: Any
    block_tokens: int
    blocks: int
    at_once: int

    @staticmethod
    def of(target: str) -> EngineShape:
        from transformers import AutoTokenizer

        described = model(Profile.LOCAL, target)
        shape = json.loads((Path(described.weights) / "config.json").read_text())
        heads, size, layers = (shape[name] for name in ("num_key_value_heads", "head_dim", "num_hidden_layers"))
        block_tokens = described.engine["block_size"]
        block_bytes = block_tokens * 2 * layers * heads * size * 2  # keys and values of two bytes
        tokenizer = AutoTokenizer.from_pretrained(described.weights)
        blocks = described.engine["kv_cache_memory_bytes"] // block_bytes
        return EngineShape(tokenizer, block_tokens, blocks, described.engine["max_num_seqs"])

    def prompt(self, request: ChatRequest) -> Prompt:
        return prompt_of(self.tokens(request), request["max_tokens"], self.block_tokens)

    def tokens(self, request: ChatRequest) -> list[int]:
        told = {"add_generation_prompt": True, "tokenize": True, "return_dict": False}
        tokens: list[int] = self.tokenizer.apply_chat_template(list(request["messages"]), **told)
        return tokens


def file_of(shape: FileShape, engine: EngineShape, seed: str) -> list[ChatRequest]:
    """Return the rows of a file nobody has seen before, in any order."""
    from deployments.standins.tasks import make_example

    rng = random.Random(seed)
    texts = (make_example(TASK, "heldout", rng).messages[-1]["content"] for _ in count())

    def about(team: int) -> str:
        said = f"Notes of {seed} about team {team}."
        while len(engine.tokenizer.encode(said)) < CONTEXT_TOKENS:
            said += f"\n{next(texts)}"
        return said

    rows: list[ChatRequest] = [
        {
            "messages": [{"role": "system", "content": context}, {"role": "user", "content": next(texts)}],
            "max_tokens": rng.choice(ANSWERS),
            "temperature": 0,
            "model": shape.target,
        }
        for context in map(about, range(shape.teams))
        for _ in range(shape.rows)
    ]
    rng.shuffle(rows)
    return rows


def planned(rows: Sequence[ChatRequest]) -> list[ChatRequest]:
    return [rows[place] for place in planned_order(rows, load_rules(None, None, "local").estimates)]


async def run(nats_url: str, target: str, rows: Sequence[ChatRequest]) -> tuple[float, int, int]:
    """Return the seconds that the fleet took for the rows, and the tokens of their prompts: all, and from the cache."""
    desk = await open_desk(nats_url, TENANT)
    jobs = [Submission(secrets.token_hex(16), TASK, row, lane=Lane.BULK, cloud="deny") for row in rows]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reading = asyncio.create_task(_read(aiter(desk.results()), target, len(jobs)))
            await asyncio.sleep(0)  # the reader subscribes before anything can be answered
            started = time.perf_counter()
            await desk.submit(jobs)
            tokens, cached = await reading
            return time.perf_counter() - started, tokens, cached
    finally:
        await desk.close()


async def _read(results: Any, target: str, jobs: int) -> tuple[int, int]:
    tokens = cached = 0
    for _ in range(jobs):
        result = await anext(results)
        require(result, target)
        usage = result.answer.usage
        tokens, cached = tokens + usage.input_tokens, cached + usage.cached_input_tokens
    return tokens, cached


def round_of(
    runner: asyncio.Runner, nats_url: str, shape: FileShape, engine: EngineShape, number: int
) -> dict[str, float]:
    """Return the figures of a round; which order comes first alternates."""
    figures: dict[str, float] = {}
    for order in ORDERS if number % 2 else ORDERS[::-1]:
        rows = file_of(shape, engine, secrets.token_hex(3))
        rows = planned(rows) if order == "planned" else rows
        prompts = [engine.prompt(row) for row in rows]
        most = most_saved_blocks(prompts)
        seconds, tokens, cached = runner.run(run(nats_url, shape.target, rows))
        if tokens != (counted := sum(len(engine.tokens(row)) for row in rows)):
            raise RuntimeError(f"the engine read {tokens} tokens where {counted} were expected")
        modelled = saved_blocks(prompts, engine.blocks, engine.at_once)
        figures |= {
            f"{order}_jobs_per_second": len(rows) / seconds,
            f"{order}_hit_rate": cached / tokens,
            f"{order}_of_most": cached / (most * engine.block_tokens),
            f"{order}_of_most_by_model": modelled / most,
            "shared": most * engine.block_tokens / tokens,
        }
    return figures | {"speedup": figures["planned_jobs_per_second"] / figures["file_jobs_per_second"]}


def measure(shape: FileShape) -> dict[str, float]:
    """Return the median of each figure over the rounds after the first, which warms up."""
    engine = EngineShape.of(shape.target)
    with TemporaryDirectory(prefix="fleet-bench-") as folder, asyncio.Runner() as runner:
        started = runner.run(start_fleet(Path(folder)))
        try:
            rounds = [round_of(runner, started.nats_url, shape, engine, number) for number in range(shape.rounds + 1)][
                1:
            ]
        finally:
            runner.run(started.stop())
    speedups = [each["speedup"] for each in rounds]
    middle = {name: median(each[name] for each in rounds) for name in rounds[0]}
    return middle | {"speedup_lowest": min(speedups), "speedup_highest": max(speedups)}


def main(arguments: Sequence[str] | None = None) -> None:
    default = FileShape()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--target", default=default.target)
    parser.add_argument("--teams", type=int, default=default.teams)
    parser.add_argument("--rows", type=int, default=default.rows)
    parser.add_argument("--rounds", type=int, default=default.rounds)
    given = parser.parse_args(arguments)
    show(measure(FileShape(given.target, given.teams, given.rows, given.rounds)), given.json)


if __name__ == "__main__":
    main()
