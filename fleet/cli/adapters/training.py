"""`fleet adapters train` and `check`: teach a base model one task, and check an adapter that was trained elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.connection import settings_for
from fleet.cli.extras import needs_train
from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from deployments.adapters.base import Base
    from deployments.adapters.layout import Adapter
    from deployments.adapters.train import Step

REPORT_SECONDS = 5.0

BaseTarget = Annotated[str, typer.Option("--base", metavar="TARGET", help="The fleet's model that is taught.")]
Weights = Annotated[Path | None, typer.Option(help="The folder of its weights, where they are not shipped.")]


def train(
    data: Annotated[Path, typer.Argument(help="Chats to learn from, as JSON lines with `messages`.")],
    task: Annotated[str, typer.Option(help="The task it is for.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="A new folder; an interrupted training goes on there.")],
    base: BaseTarget = "llama-8b",
    weights: Weights = None,
    rank: Annotated[int, typer.Option(help="Directions in which each module is adapted.")] = 16,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-3,
    steps: Annotated[int, typer.Option(min=1, help="Steps to train for.")] = 300,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a step.")] = 32,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Examples in memory at once; without it, a step's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same data, recipe and seed give the same adapter on a machine.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train an adapter of one of the fleet's models for a task."""
    output = Output(as_json)
    with friendly(as_json), needs_train("fleet adapters train"):
        from fleet.app import rules_of

        settings = settings_for(None)
        check_task("--task", task, rules_of(settings).tasks)
        found = base_of_target(base, weights)
        from deployments.adapters.recipe import Recipe
        from fleet.cli.data.lineage import sources_of

        sources = sources_of(data, settings, output.progress)
        from deployments.adapters.train import train as trained

        recipe = Recipe(rank, 2 * rank, rate, steps, batch, at_once or batch, seed)
        adapter = trained(found, data, out, recipe, task, Progress(output, steps), sources)
        output.object(_as_object(adapter))
        output.show(f"{adapter.digest[:12]}  {task} for {base}, rank {adapter.rank}, in {out}")


def check(
    folder: Annotated[Path, typer.Argument(help="The adapter, in the layout of peft.")],
    base: BaseTarget = "llama-8b",
    weights: Weights = None,
    as_json: AsJson = False,
) -> None:
    """Check that the fleet's engine can serve an adapter: rank, modules, shapes, types, and the base it is for."""
    output = Output(as_json)
    with friendly(as_json):
        from deployments.adapters.layout import check_adapter, read_adapter

        adapter = read_adapter(folder)
        check_adapter(adapter, base_of_target(base, weights))
        output.object(_as_object(adapter))
        output.show(f"{adapter.digest[:12]}  fits {base}: rank {adapter.rank}, {len(adapter.tensors)} tensors")


def check_task(option: str, task: str, known: Collection[str]) -> None:
    """Refuse a task that the rules do not know, for no job has it. Raises: ConfigError."""
    if task not in known:
        alike = get_close_matches(task, known, n=1)
        rule = f"{task!r} is not among the tasks of the rules{f', {alike[0]!r} is' if alike else ''}"
        raise ConfigError(option, f"{rule}; FLEET_RULES_PATH names other rules")


def base_of_target(target: str, weights: Path | None) -> Base:
    """Read the base model of a target where the profile has it, or in a folder. Raises: ConfigError, OSError."""
    from deployments.adapters.base import base_of
    from deployments.profiles import Profile
    from fleet.settings.environment import load

    return base_of(target, Profile(load().profile), weights)


def _as_object(adapter: Adapter) -> dict[str, object]:
    return {"digest": adapter.digest, "rank": adapter.rank, "tensors": len(adapter.tensors), "card": adapter.card}


class Progress:
    """Says every few seconds how far a training is, and when it will be done."""

    def __init__(self, output: Output, steps: int) -> None:
        self._output = output
        self._steps = steps
        self._began: tuple[float, int] | None = None
        self._said = -math.inf

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now, step.number
        if now - self._said < REPORT_SECONDS and step.number < self._steps:
            return
        self._said = now
        began, first = self._began
        done = step.number - first
        left = f", {(now - began) / done * (self._steps - step.number):.0f} s left" if done else ""
        self._output.progress(f"step {step.number} of {self._steps}, loss {step.loss:.3f}{left}")
