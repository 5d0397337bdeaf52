"""Says whose rows a file of training data has, and refuses those of somebody who was erased since."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.extras import needs_ledger
from fleet.model.errors import ConfigError, FleetError
from fleet.model.sources import SALT_BYTES, Sources

if TYPE_CHECKING:
    from fleet.lab.data.examples import Source
    from fleet.settings.environment import Settings


def sources_of(data: Path, settings: Settings, say: Callable[[str], None]) -> Sources | None:
    """Return whose rows the file has, hashed; None, which is said, if it lies in no export.

    Whether rows were erased since the content store says, where there is one.

    Raises: ConfigError naming the file if rows were erased, or if it is not as it was exported; OSError.
    """
    from fleet.lab.data.folder import sources_in

    data.stat()  # a file that is not there is an error, and nothing to be told about
    found = sources_in(data)
    if found is None:
        say(f"{data} is not from `fleet data export`: `fleet erase` will not find adapters that are trained on it")
        return None
    _refuse_erased(data, found, settings, say)
    rows = ((each.tenant, each.job_id, each.person) for each in found)
    return Sources.of(rows, secrets.token_bytes(SALT_BYTES))


def _refuse_erased(data: Path, sources: Sequence[Source], settings: Settings, say: Callable[[str], None]) -> None:
    from fleet.cli.data.reading import gone_from_store

    try:
        with needs_ledger("to ask the content store"):
            is_gone, unknown = gone_from_store(settings, sources, time.time())
    except FleetError as error:
        if isinstance(error, ConfigError):
            raise
        say(f"nobody can say whether rows were erased since the export: {error}")
        return
    if gone := sum(map(is_gone, sources)):
        way_out = f"`fleet data erased {data.parent} -o NEW` writes the rest"
        raise ConfigError(str(data), f"has rows of {gone:,} jobs that were erased since: {way_out}")
    if unknown:
        say(f"{unknown:,} jobs are older than contents are kept: nobody can say whether they were erased")
