"""`fleet scale`: shows and changes the numbers of replicas of the fleet's own targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.options import AsJson
from fleet.cli.output import Output, friendly
from fleet.model.errors import ConfigError

if TYPE_CHECKING:
    from deployments.serve.api import Change, Scaling, ServeApi
    from policies.rules.catalogue import Catalogue

COLUMNS = ("target", "status", "scaling", "running", "wanted", "min", "max", "message")
NUMBERS = COLUMNS[3:7]


def scale(
    target: Annotated[
        str | None, typer.Argument(help="Which one, such as llama-8b; without it, all are shown.")
    ] = None,
    least: Annotated[int | None, typer.Option("--min", help="The least replicas autoscaling may choose.")] = None,
    most: Annotated[int | None, typer.Option("--max", help="The most replicas autoscaling may choose.")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Stop autoscaling; the number stays what it is.")] = False,
    drain: Annotated[bool, typer.Option("--drain", help="Finish what runs, go to none and stay there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Take up autoscaling with the bounds of before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show or change how many replicas the fleet's own targets have; no replica that may stay is replaced."""
    from deployments.serve.api import ServeApi
    from fleet.app import rules_of
    from fleet.settings.environment import load

    with friendly(as_json):
        change = _change(least, most, {"--pause": pause, "--drain": drain, "--resume": resume})
        settings = load()
        targets = _scalable(rules_of(settings).catalogue, target)
        api, output = ServeApi(settings.dashboard_address), Output(as_json)
        if change is None:
            _show(api, output, targets)
        elif target is None:
            raise ConfigError("target", f"must be one of {', '.join(targets)}")
        else:
            _change_one(api, output, target, change)


def _change(least: int | None, most: int | None, switches: dict[str, bool]) -> Change | None:
    from deployments.serve.api import NewBounds, Switch

    asked = [name for name, on in switches.items() if on]
    bounds = least is not None or most is not None
    if len(asked) + bounds > 1:
        raise ConfigError(asked[0], f"must be alone, without {asked[1] if len(asked) > 1 else '--min and --max'}")
    if bounds:
        return NewBounds(least, most)
    return Switch(asked[0].removeprefix("--")) if asked else None


def _scalable(catalogue: Catalogue, target: str | None) -> list[str]:
    """Return the target, or all of the fleet's own.

    Raises: ConfigError if the target is not one of them.
    """
    own = [each.name for each in catalogue.targets.values() if not each.is_cloud]
    if target is None:
        return own
    if target not in catalogue.targets:
        raise ConfigError("target", f"must be one of {', '.join(own)}; got {target!r}")
    if target not in own:
        provider = catalogue.targets[target].provider
        raise ConfigError("target", f"{target} runs at {provider}, which scales it; ours are {', '.join(own)}")
    return [target]


def _show(api: ServeApi, output: Output, targets: Sequence[str]) -> None:
    now = api.read()
    found = {name: now.scaling(name) for name in targets}
    output.object({"targets": [_facts(name, scaling) for name, scaling in found.items()]})
    output.show(_table(list(found.items())))


def _change_one(api: ServeApi, output: Output, target: str, change: Change) -> None:
    was, now = api.change(target, change)
    output.object({"was": _facts(target, was), "is": _facts(target, now)})
    output.show(_table([("was", was), ("is", now)], first=target))


def _facts(target: str, scaling: Scaling | None) -> dict[str, Any]:
    if scaling is None:
        return {"target": target, "status": "not deployed"}
    return {
        "target": target,
        "status": scaling.status,
        "scaling": scaling.mode.value,
        "running": scaling.running,
        "wanted": scaling.wanted,
        "min": scaling.bounds and scaling.bounds.least,
        "max": scaling.bounds and scaling.bounds.most,
        "message": scaling.message,
    }


def _table(rows: Sequence[tuple[str, Scaling | None]], first: str = "target") -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (first, *COLUMNS[1:-1], ""):
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    for name, scaling in rows:
        facts = _facts(name, scaling)
        cells = ("-" if facts.get(column) is None else str(facts[column]) for column in COLUMNS[2:-1])
        table.add_row(name, facts["status"], *cells, facts.get("message") or "")
    return table
