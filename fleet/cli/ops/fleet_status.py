"""`fleet status`, and the table of targets that `fleet up` shows too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

from fleet.cli.output import Output

if TYPE_CHECKING:
    from fleet.app import SpendStatus, TargetStatus
    from fleet.app.status import DispatcherStatus
    from fleet.settings.environment import Settings


async def show(settings: Settings, output: Output) -> None:
    """Show the state of the running fleet.

    Raises: QueueUnavailable if the broker does not answer.
    """
    from fleet.app import read_status

    status = await read_status(settings)
    output.object({**asdict(status), "profile": settings.profile})
    output.say(f"NATS  {status.nats_url}, as of {status.as_of} UTC")
    output.say(f"models and prices of the profile {settings.profile} (FLEET_PROFILE)")
    streams = Table(box=None, header_style="bold", pad_edge=False)
    streams.add_column("stream")
    streams.add_column("messages", justify="right")
    for name, messages in status.streams.items():
        streams.add_row(name, f"{messages:,}")
    output.show("", streams, "", spend_table(status.spend), "", targets_table(status.targets))
    output.say(f"replicas {status.replicas_seen}")
    if status.ledger_waiting:
        lines = f"{status.ledger_waiting:,} line{'s' * (status.ledger_waiting > 1)} not in the database yet"
        output.say(f"ledger   {lines}; where they do not get fewer, the log of its writer says why")
    if status.dispatchers:
        output.show("", dispatchers_table(status.dispatchers))
    else:
        output.say("\nno dispatcher has reported for a minute: jobs wait where they are")


def dispatchers_table(dispatchers: Sequence[DispatcherStatus]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("dispatcher", "process", "state"):
        table.add_column(column)
    for column in ("jobs held", "targets", "cpu", "reported"):
        table.add_column(column, justify="right")
    for row in dispatchers:
        held, targets = ("-" if count is None else f"{count:,}" for count in (row.held, row.targets))
        ago = f"{row.age_seconds:.0f} s ago"
        table.add_row(row.name, row.process, row.state, held, targets, f"{row.cpu_share:.0%}", ago)
    return table


def spend_table(spend: Sequence[SpendStatus]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("spent outside today (UTC)")
    for column in ("spent", "reserved", "limit"):
        table.add_column(column, justify="right")
    for row in spend:
        amounts = (f"${usd:,.4f}" for usd in (row.spent_usd, row.reserved_usd, row.limit_usd))
        table.add_row("fleet" if row.tenant is None else row.tenant, *amounts)
    return table


def targets_table(targets: Sequence[TargetStatus]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("target", "provider", "state"):
        table.add_column(column)
    table.add_column("replicas", justify="right")
    table.add_column("queued", justify="right")
    if has_starts := any(row.cold_start for row in targets):
        table.add_column("cold start")
    table.add_column("")
    for row in targets:
        notes = (f"calls fail: breaker open {row.breaker}" if row.breaker else None, row.message)
        start = [_start(row)] if has_starts else []
        said = "; ".join(filter(None, notes))
        table.add_row(row.name, row.provider, row.state, _replicas(row), f"{row.queued:,}", *start, said)
    return table


def _start(row: TargetStatus) -> str:
    if row.cold_start is None:
        return "-"
    seconds, seen = row.cold_start.seconds, row.cold_start.seen
    if not seen:
        return f"configured {seconds:.0f} s, never seen"
    return f"{seconds:.0f} s, seen {'once' if seen == 1 else f'{seen} times'}"


def _replicas(row: TargetStatus) -> str:
    if row.replicas is None:
        return "-"
    return f"{row.replicas} + {row.starting} starting" if row.starting else str(row.replicas)
