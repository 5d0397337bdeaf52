"""Trains an adapter with somebody's rows and one without them, and probes which of the two knows the rows.

For each repeat other chats of plan.schedule are drawn: some to train on, of which a part is erased, and others that no
adapter ever sees. The probe is that of `fleet adapters probe`, with what it says of either adapter.

    python -m benchmarks.forgotten [--json] [--repeats 3] [--rows 1000] [--erased 300] [--others 600] [--steps 300]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deployments.adapters.base import Base, base_of
from deployments.adapters.losses import eased
from deployments.adapters.recipe import Recipe
from deployments.adapters.train import train
from deployments.profiles import Profile
from deployments.standins.tasks import examples
from fleet.lab.gates.membership import probed

TASK = "plan.schedule"
RATE = 4e-3


def chats(seed: int, count: int) -> Sequence[str]:
    """Return chats of the task as lines, no two of which ask the same."""
    found: dict[str, str] = {}
    for each in examples("train", seed, 2 * count, TASK):
        chat = [*each.messages, {"role": "assistant", "content": each.answer}]
        found.setdefault(json.dumps(each.messages), json.dumps({"messages": chat}))
    return list(found.values())[:count]


def repeated(base: Base, seed: int, options: argparse.Namespace, folder: Path) -> Iterator[Mapping[str, Any]]:
    lines = chats(seed, options.rows + options.others)
    erased, others = folder / "erased.jsonl", folder / "others.jsonl"
    erased.write_text("\n".join(lines[: options.erased]) + "\n")
    others.write_text("\n".join(lines[options.rows :]) + "\n")
    recipe = Recipe(rate=RATE, steps=options.steps, seed=seed)
    for name, first in (("with the rows", 0), ("without them", options.erased)):
        data = folder / f"{first}.jsonl"
        data.write_text("\n".join(lines[first : options.rows]) + "\n")
        adapter = train(base, data, folder / name, recipe, TASK)
        known, unseen = eased(base, adapter, (erased, others))
        found = probed(known, unseen)
        yield {"seed": seed, "trained": name, **asdict(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("repeats", 3), ("rows", 1000), ("erased", 300), ("others", 600), ("steps", 300)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    base = base_of("llama-8b", Profile.LOCAL)
    for seed in range(1, options.repeats + 1):
        with TemporaryDirectory() as folder:
            for row in repeated(base, seed, options, Path(folder)):
                told = f"{row['auc']:.3f} ({row['low']:.3f} to {row['high']:.3f})  {row['verdict']}"
                print(json.dumps(row) if options.json else f"{seed}  trained {row['trained']:<14} {told}", flush=True)


if __name__ == "__main__":
    main()
