"""`fleet dead`: shows, resubmits or removes messages of all tenants that could not be read or finished."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic_core import from_json
from rich.table import Table

from fleet.cli.connection import opened, settings_for
from fleet.cli.options import AsJson, NatsUrl
from fleet.cli.output import Output, friendly
from fleet.model.errors import FleetError
from fleet.model.reason import Reason
from fleet.model.result import Kept

if TYPE_CHECKING:
    from fleet.ports import DeadLetters

MOST_LISTED = 100

LEAST_WIDTH = 72
"""Minimum width of the list: a narrower terminal breaks its lines, but cuts no number that other commands need."""

dead_app = typer.Typer(help="Jobs that could not be read or finished.", no_args_is_help=True)

Numbers = Annotated[list[int], typer.Argument(metavar="SEQ...", help="As `fleet dead list` numbers them.")]
WithBody = Annotated[bool, typer.Option("--body", help="Also show the message, and with it the prompt.")]


@dead_app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    reason: Annotated[
        Reason | None, typer.Option(metavar="REASON", help="Only those that ended for it, such as out_of_money.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest ones, so many.")] = MOST_LISTED,
    body: WithBody = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first, without their prompts."""
    with friendly(as_json):
        asyncio.run(_with_letters(nats_url, lambda dead: show_list(dead, Output(as_json), tenant, reason, limit, body)))


@dead_app.command()
def show(
    sequence: Annotated[int, typer.Argument(metavar="SEQ", help="As `fleet dead list` numbers them.")],
    body: WithBody = False,
    nats_url: NatsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter."""
    with friendly(as_json):
        asyncio.run(_with_letters(nats_url, lambda dead: show_one(dead, Output(as_json), sequence, body)))


@dead_app.command()
def redrive(sequences: Numbers, nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Submit the jobs of dead letters again, each under a new id, and remove the letters."""
    with friendly(as_json):
        asyncio.run(_with_letters(nats_url, lambda dead: redrive_all(dead, Output(as_json), sequences)))


@dead_app.command()
def drop(sequences: Numbers, nats_url: NatsUrl = None, as_json: AsJson = False) -> None:
    """Remove dead letters."""
    with friendly(as_json):
        asyncio.run(_with_letters(nats_url, lambda dead: drop_all(dead, Output(as_json), sequences)))


async def _with_letters(nats_url: str | None, do: Callable[[DeadLetters], Awaitable[None]]) -> None:
    from fleet.app import open_dead_letters

    async with opened(settings_for(nats_url), open_dead_letters) as dead:
        await do(dead)


async def show_list(
    dead: DeadLetters, output: Output, tenant: str | None, reason: Reason | None, limit: int, body: bool
) -> None:
    """Show the newest `limit` letters that match."""
    found: list[Kept] = []
    async for kept in dead.letters(tenant):
        if reason in (None, kept.letter.reason):
            found = [*found[1 - limit :], kept] if limit > 1 else [kept]
    now = time.time()
    output.object({"letters": [facts_of(kept, now, body) for kept in found]})
    table = _list_table(output.console.width)
    for kept in found:
        facts = facts_of(kept, now, body)
        age, task = _age(facts["age_seconds"]), facts["task"] or "-"
        table.add_row(str(kept.sequence), age, facts["tenant"], task, facts["reason"], facts["problem"])
        if body:
            table.add_row("", "", "", "", "", facts["body"])
    output.show(table if found else "no dead letters")


def _list_table(terminal_width: int) -> Table:
    table = Table(box=None, padding=(0, 2), width=LEAST_WIDTH if terminal_width < LEAST_WIDTH else None)
    table.add_column("seq", no_wrap=True)
    for name in ("age", "tenant", "task", "reason", "problem"):
        table.add_column(name, overflow="fold")
    return table


async def show_one(dead: DeadLetters, output: Output, sequence: int, body: bool) -> None:
    """Show one letter.

    Raises: FleetError if there is no such letter.
    """
    facts = facts_of(await _found(dead, sequence), time.time(), body)
    output.object(facts)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, _age(value) if name == "age_seconds" else str(value))
    output.show(table)


async def redrive_all(dead: DeadLetters, output: Output, sequences: Sequence[int]) -> None:
    """Resubmit the letters' jobs in order, and stop at the first that cannot be submitted.

    Raises: FleetError if there is no such letter; InvalidJob if a job breaks a rule.
    """
    redriven: dict[str, str] = {}
    for sequence in sequences:
        kept = await _found(dead, sequence)
        redriven[str(sequence)] = await dead.redrive(kept, time.time())
        # Removed last: to submit a letter's job twice does no harm, to lose it does.
        await dead.drop(sequence)
        output.say(f"{sequence}: {kept.letter.job_id} runs again as {redriven[str(sequence)]}")
    output.object({"redriven": redriven})


async def drop_all(dead: DeadLetters, output: Output, sequences: Sequence[int]) -> None:
    """Remove the letters.

    Raises: FleetError if one does not exist.
    """
    for sequence in sequences:
        if not await dead.drop(sequence):
            raise FleetError(f"there is no dead letter {sequence}")
        output.say(f"{sequence}: removed")
    output.object({"dropped": list(sequences)})


async def _found(dead: DeadLetters, sequence: int) -> Kept:
    kept = await dead.letter(sequence)
    if kept is None:
        raise FleetError(f"there is no dead letter {sequence}")
    return kept


def facts_of(kept: Kept, now: float, body: bool) -> dict[str, Any]:
    """Return the facts of a letter that may be shown; its message only with `body`."""
    letter = kept.letter
    facts = {
        "seq": kept.sequence,
        "age_seconds": round(now - letter.at, 1),
        "tenant": letter.tenant,
        "id": letter.job_id,
        "task": _task_in(letter.body),
        "reason": letter.reason.value,
        "problem": letter.problem.message,
        "field": letter.problem.field,
    }
    return {**facts, "body": letter.body.decode(errors="backslashreplace")} if body else facts


def _task_in(body: bytes) -> str | None:
    try:
        sent = from_json(body)
    except ValueError:
        return None
    task = sent.get("task") if isinstance(sent, dict) else None
    return task if isinstance(task, str) else None


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
