"""`fleet router`: learns which prompts a small model nearly always fails, and says whether it may decide anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.extras import needs_learn
from fleet.cli.options import AsJson
from fleet.cli.output import FAILED, Output, friendly
from fleet.files import check_output

SEED = 1
_FAMILY = re.compile(r"\*|[A-Za-z0-9_:-][A-Za-z0-9_.:-]{0,63}(\.\*)?")


def router(
    file: Annotated[Path, typer.Argument(help="Labelled prompts as CSV: prompt, weak_correct, strong_correct, task.")],
    weak: Annotated[str, typer.Option(help="The target whose answers weak_correct judges, such as llama-8b.")],
    strong: Annotated[str, typer.Option(help="The target whose answers strong_correct judges.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Add it to the routers in this file.")],
    task: Annotated[str, typer.Option(help="Whose prompts: a task, a family such as classify.*, or *.")] = "*",
    as_json: AsJson = False,
) -> None:
    """Fit a router before generation; written only if it surely beats prompt length and a table of tasks."""
    said = Output(as_json)
    with friendly(as_json), needs_learn("fleet router"):
        check_output("--output", output, (file,))
        on = _fit(said, file, weak, strong, task, output)
    if not on:
        raise typer.Exit(FAILED)


def _fit(said: Output, file: Path, weak: str, strong: str, task: str, output: Path) -> bool:
    import numpy as np

    from fleet.app import rules_of
    from fleet.lab.router.files import read_labelled
    from fleet.lab.router.fit import fit_router
    from fleet.model.errors import ConfigError
    from fleet.settings.environment import load
    from fleet.settings.routers import load_routers, save_routers
    from policies.routing.learned_router import switch_on

    catalogue = rules_of(load()).catalogue
    for name, target in (("--weak", weak), ("--strong", strong)):
        if target not in catalogue.targets:
            raise ConfigError(name, f"must be one of {', '.join(catalogue.targets)}")
    if weak == strong:
        raise ConfigError("--strong", f"must be another target than --weak, {weak}")
    if not _FAMILY.fullmatch(task):
        raise ConfigError("--task", f"must be a task, a family such as classify.*, or *; got {task!r}")
    rows = read_labelled(file, with_answer=False)
    if task.endswith("*") and rows.tasks is None:
        rule = f"must be there for a router of {task}: it has to beat the table of the tasks in it"
        raise ConfigError(f"{file}, column task", rule)
    rng, good = np.random.default_rng(SEED), (rows.weak_good.tolist(), rows.strong_good.tolist())
    fitted = fit_router(rows.prompts, *good, rng, tasks=rows.tasks, weak=weak, strong=strong)
    ruling = switch_on(fitted)
    if ruling.on:
        there = load_routers(output, catalogue) if output.exists() else {}
        save_routers(output, {**there, (weak, task): fitted})
    said.object({"version": fitted.version, "labels": fitted.labels, "on": ruling.on, "reason": ruling.reason})
    said.say(f"{'on' if ruling.on else 'off'}: {ruling.reason}")
    if ruling.on:
        said.say(f"router {fitted.version} for {weak} and {task} is in {output}")
        said.say(f"to use it: FLEET_ROUTERS_PATH={output}, and router.enabled in the rules")
    return ruling.on
