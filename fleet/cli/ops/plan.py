"""`fleet plan`: shows which models fit which GPUs, how many jobs at once, how fast, and the price of a token there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fleet.cli.options import AsJson
from fleet.cli.output import FAILED, Output, friendly

if TYPE_CHECKING:
    from policies.capacity.machines import Machines
    from policies.capacity.plan import Served, ServingOption, Wish
    from policies.capacity.quantization import Quantization

Choice = TypeVar("Choice", bound=StrEnum)
Known = TypeVar("Known")


def plan(
    model: Annotated[str | None, typer.Option(help="A model of the fleet, such as llama-70b; without it, all.")] = None,
    instance: Annotated[
        str | None, typer.Option(help="A machine, such as p4d.24xlarge; without it, the usual.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Use so many of its cards; without it, all.")] = None,
    tensor_parallel: Annotated[int | None, typer.Option(min=1, help="Cards a replica is split among.")] = None,
    quantization: Annotated[
        str | None, typer.Option(help="bf16, fp8, int8, awq or gptq; without it, the best.")
    ] = None,
    kv_dtype: Annotated[str, typer.Option(help="How the KV cache is kept: bf16 or fp8.")] = "bf16",
    context: Annotated[
        int | None, typer.Option(min=1, help="The longest context, in tokens; without it, the model's own.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="So many whole contexts must fit at once.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Of the mean job.")] = 400,
    output_tokens: Annotated[int, typer.Option(min=1, help="Of the mean job.")] = 100,
    utilization: Annotated[float, typer.Option(min=0.01, max=1, help="Share of its time a replica has work.")] = 1.0,
    fetch_mb_per_second: Annotated[float, typer.Option(min=1, help="At which a new machine fetches weights.")] = 300.0,
    config: Annotated[Path | None, typer.Option(help="Another model: its config.json or the folder of it.")] = None,
    machines: Annotated[Path | None, typer.Option(help="Machines and prices of your own, as YAML.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what fits on which GPUs, how fast it answers there and at what price. Exits 1 if nothing fits."""
    from fleet.settings.capacity import load_machines
    from policies.capacity.memory import KvDtype
    from policies.capacity.plan import Wish
    from policies.capacity.roofline import JobShape

    with friendly(as_json):
        rented = load_machines(machines)
        models = _models(model, config, context)
        kinds = {kind.value: kind for served in models.values() for kind in served.kinds}
        kind = None if quantization is None else _known("--quantization", quantization, kinds)
        job = JobShape(prompt_tokens, output_tokens)
        wish = Wish(
            job,
            concurrency,
            gpus,
            tensor_parallel,
            _choice("--kv-dtype", kv_dtype, KvDtype),
            utilization,
            fetch_mb_per_second,
        )
        _check(models, instance, rented, wish)
        rows = _rows(models, instance, kind, rented, wish)
        _show(Output(as_json), rows, models, rented, wish)
    if not any(row.fits for row in rows):
        raise typer.Exit(FAILED)


def _models(model: str | None, config: Path | None, context: int | None) -> dict[str, Served]:
    """Return the models asked for, with the context asked for.

    Raises: ConfigError if there is no such model, or it has no such context.
    """
    from dataclasses import replace

    from fleet.model.errors import ConfigError
    from fleet.settings.capacity import load_models, read_model

    if config is not None and model is not None:
        raise ConfigError("--config", "is a model of its own: leave out --model")
    if config is not None:
        served = read_model(config)
        models = {served.architecture.name: served}
    else:
        known = load_models()
        models = known if model is None else {model: _known("--model", model, known)}
    if context is None:
        return models
    for name, served in models.items():
        if context > served.architecture.longest_context:
            raise ConfigError("--context", f"must be at most {served.architecture.longest_context:,} for {name}")
    return {name: replace(served, context_tokens=context) for name, served in models.items()}


def _check(models: Mapping[str, Served], instance: str | None, machines: Machines, wish: Wish) -> None:
    """Refuse wishes that no arithmetic can meet.

    Raises: ConfigError if there is one.
    """
    from fleet.model.errors import ConfigError

    for name, served in models.items():
        if wish.job.tokens > served.context_tokens:
            rule = f"with --output-tokens must be at most the context, {served.context_tokens:,} tokens for {name}"
            raise ConfigError("--prompt-tokens", rule)
    if instance is not None:
        rented = _known("--instance", instance, machines.instances)
        if wish.gpus is not None and wish.gpus > rented.gpus:
            raise ConfigError("--gpus", f"must be at most {rented.gpus}, the cards of {instance}")


def _rows(
    models: Mapping[str, Served], instance: str | None, kind: Quantization | None, machines: Machines, wish: Wish
) -> list[ServingOption]:
    """Return every quantization if model and machine are named, else the published one and the cheapest.

    Raises: ConfigError if no machine has the cards for it.
    """
    from fleet.model.errors import ConfigError
    from policies.capacity.plan import overview, rows_of

    instances = machines.overview if instance is None else (instance,)
    if kind is not None:
        rows = rows_of(models, instances, (kind,), machines, wish)
    elif len(models) == 1 and instance is not None:
        rows = rows_of(models, instances, next(iter(models.values())).kinds, machines, wish)
    else:
        pairs = ((served, name) for served in models.values() for name in instances)
        rows = [row for served, name in pairs for row in overview(served, name, machines, wish)]
    if not rows:
        raise ConfigError(*_impossible(models, instances, machines, wish))
    return rows


def _impossible(
    models: Mapping[str, Served], instances: Iterable[str], machines: Machines, wish: Wish
) -> tuple[str, str]:
    """Return the option that no machine can meet, and the reason."""
    from policies.capacity.memory import cannot_split

    most = max(machines.instances[name].gpus for name in instances)
    if wish.tensor_parallel is None:
        return "--gpus", f"must be at most {most}, the most cards of these machines"
    for served in models.values():
        why = cannot_split(served.architecture, served.kinds[0], wish.tensor_parallel)
        if why is not None:
            return "--tensor-parallel", f"{served.architecture.name}: {why}"
    return "--tensor-parallel", f"must divide the number of cards, {wish.gpus or most}"


def _show(
    output: Output, rows: list[ServingOption], models: Mapping[str, Served], machines: Machines, wish: Wish
) -> None:
    """Show the rows.

    Raises: FleetError if, for people, nothing fits; its line says by how much, and what would fit.
    """
    from fleet.cli.ops.plan_view import as_object, short, view
    from fleet.model.errors import FleetError
    from policies.capacity.plan import what_fits

    offers = {id(row): what_fits(row, models[row.model], machines, wish) for row in rows if not row.fits}
    output.object(as_object(rows, offers, models, machines, wish))
    if not output.as_json and len(offers) == len(rows):
        closest = min(rows, key=lambda row: row.memory.weights_gib)
        raise FleetError(short(closest, offers[id(closest)]))
    output.show(*view(rows, offers, models, machines, wish))


def _choice(option: str, value: str, kinds: type[Choice]) -> Choice:
    return _known(option, value, {kind.value: kind for kind in kinds})


def _known(option: str, name: str, among: Mapping[str, Known]) -> Known:
    from fleet.model.errors import ConfigError

    if name not in among:
        raise ConfigError(option, f"must be one of {', '.join(among)}; got {name!r}")
    return among[name]
