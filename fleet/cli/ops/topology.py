"""`fleet topology apply`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from fleet.cli.output import Output

if TYPE_CHECKING:
    from fleet.settings.environment import Settings


async def apply(settings: Settings, output: Output, replicas: int | None) -> None:
    """Create or update the streams and show what changed.

    Raises: QueueUnavailable; ConfigError if a stream refuses the change.
    """
    from fleet.app import apply_topology, login_of

    assert settings.nats_url is not None, "settings_for gave the address"
    changes = await apply_topology(settings.nats_url, login_of(settings), replicas)
    output.object({"streams": {change.stream: change.kind.value for change in changes}})
    table = Table.grid(padding=(0, 2))
    for change in changes:
        table.add_row(change.stream, change.kind.value)
    output.show(table)
