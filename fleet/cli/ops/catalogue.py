"""`fleet catalogue`: asks providers about the models of the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fleet.cli.options import AsJson
from fleet.cli.output import FAILED, Output, friendly

if TYPE_CHECKING:
    from fleet.app import Checked

catalogue_app = typer.Typer(help="The file of all targets.", no_args_is_help=True)


@catalogue_app.callback()
def catalogue() -> None:
    """The file of all targets."""


@catalogue_app.command()
def check(
    provider: Annotated[list[str] | None, typer.Option(help="Only this provider's models; repeatable.")] = None,
    timeout_seconds: Annotated[float, typer.Option(min=0.001, help="How long a provider may take.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Ask each provider whether its models still exist. Exits 1 if one is gone, or a provider cannot be asked."""
    from fleet.app import check_catalogue
    from fleet.settings.environment import load

    with friendly(as_json):
        found = asyncio.run(check_catalogue(load(), provider or (), timeout_seconds))
        is_fine = _is_fine(found)
        output = Output(as_json)
        output.object({"ok": is_fine, "targets": [_as_object(each) for each in found]})
        output.show(_table(found))
    if not is_fine:
        raise typer.Exit(FAILED)


def _is_fine(found: Sequence[Checked]) -> bool:
    """Return whether all who were asked have their models; where nobody could be asked, nothing is known to be fine."""
    from fleet.app import Presence

    said = {each.presence for each in found}
    return not said & {Presence.GONE, Presence.NOT_ASKED} and said != {Presence.NO_KEY}


def _as_object(each: Checked) -> dict[str, Any]:
    target = each.target
    named = {"target": target.name, "provider": target.provider, "model": target.model}
    return {**named, "presence": each.presence.value, "detail": each.detail}


def _table(found: Sequence[Checked]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in found:
        table.add_row(each.presence.value.replace("_", " "), each.target.name, each.detail or each.target.model)
    return table
