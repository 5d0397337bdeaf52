"""`fleet adapters`: a few weights beside a model that teach it a task, from their training to their end."""

from __future__ import annotations

import typer

from fleet.cli.adapters.probe import probe
from fleet.cli.adapters.training import check, train
from fleet.cli.adapters.trying import try_adapter

adapters_app = typer.Typer(help="Adapters: weights that teach one of the fleet's models a task.", no_args_is_help=True)

for command in (train, check, probe):
    adapters_app.command()(command)
adapters_app.command(name="try")(try_adapter)
