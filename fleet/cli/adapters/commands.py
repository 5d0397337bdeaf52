"""`fleet adapters`: a few weights beside a model that teach it a task, from their training to their end."""

from __future__ import annotations

import typer

from fleet.cli.adapters.probe import probe
from fleet.cli.adapters.registering import fetch, register
from fleet.cli.adapters.registry import list_adapters, promote, remove, rollback, show, withdraw
from fleet.cli.adapters.training import check, train
from fleet.cli.adapters.trying import try_adapter

adapters_app = typer.Typer(help="Adapters: weights that teach one of the fleet's models a task.", no_args_is_help=True)

adapters_app.command()(train)
adapters_app.command()(check)
adapters_app.command()(probe)
adapters_app.command(name="try")(try_adapter)
adapters_app.command()(register)
adapters_app.command(name="list")(list_adapters)
adapters_app.command()(show)
adapters_app.command()(promote)
adapters_app.command()(rollback)
adapters_app.command()(withdraw)
adapters_app.command()(fetch)
adapters_app.command()(remove)
