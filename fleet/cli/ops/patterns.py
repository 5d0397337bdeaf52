"""`fleet patterns`: which answers are written down, which lists somebody should read again, and what a message gets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fleet.cli.options import AsJson, Tenant
from fleet.cli.output import FAILED, Output, friendly
from fleet.model.errors import InvalidJob

if TYPE_CHECKING:
    from policies.caching.patterns import PatternRules

patterns_app = typer.Typer(help="Answers that need no model.", no_args_is_help=True)


@patterns_app.command()
def check(as_json: AsJson = False) -> None:
    """List the patterns of the rules. Exits 1 if nobody has checked a list for too long."""
    from fleet.app.worker import rules_of
    from fleet.settings.environment import load

    with friendly(as_json):
        rules = rules_of(load()).patterns
        due = rules.due(_last_day(rules))
        output = Output(as_json)
        output.object({"ok": not due, "lists": {name: _as_object(rules, name, due) for name in rules.lists}})
        output.show(_table(rules, due) if rules.lists else "no list of patterns in the rules")
    if due:
        raise typer.Exit(FAILED)


def _last_day(rules: PatternRules) -> str:
    return (datetime.now(UTC) - timedelta(days=rules.check_days)).date().isoformat()


def _as_object(rules: PatternRules, name: str, due: list[str]) -> dict[str, object]:
    found = rules.lists[name]
    counts = {"answers": len(found.patterns), "forms": len(found.answers)}
    return {"language": found.language, "tasks": sorted(found.tasks), **counts, "checked": found.checked} | {
        "due": name in due
    }


def _table(rules: PatternRules, due: list[str]) -> Table:
    table = Table("list", "language", "tasks", "answers", "forms", "checked", "", box=None)
    for name, each in rules.lists.items():
        counts = (str(len(each.patterns)), str(len(each.answers)))
        said = f"due: read it again and change `checked` (every {rules.check_days} days)" if name in due else ""
        table.add_row(name, each.language, ", ".join(sorted(each.tasks)), *counts, each.checked, said)
    return table


@patterns_app.command(name="try")
def try_(
    task: Annotated[str, typer.Argument(help="The task of the job.")],
    message: Annotated[str, typer.Argument(help="What a user writes.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a message gets an answer that is written down, and which. Sends nothing."""
    from fleet.app.worker import rules_of
    from fleet.settings.environment import load
    from policies.caching.patterns import normal_form, written_for

    with friendly(as_json):
        settings = load(tenant=tenant)
        rules = rules_of(settings)
        if task not in rules.tasks:
            raise InvalidJob("task", f"must be one of {', '.join(rules.tasks)}")
        answer = written_for(settings.tenant, task, message, rules.patterns)
        output = Output(as_json)
        output.object({"form": normal_form(message), "answer": answer})
        output.show(
            f'a model answers: no pattern of {settings.tenant} and {task} is "{normal_form(message)}"'
            if answer is None
            else answer
        )
