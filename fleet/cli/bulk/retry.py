"""`fleet bulk retry-failed`: a new batch of the rows that have no answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleet.batches import wishes
from fleet.cli.bulk.results import Wanted, finish
from fleet.cli.bulk.views import as_json
from fleet.cli.bulk.watch import there
from fleet.cli.connection import open_batches
from fleet.cli.output import Output
from fleet.model.errors import ConfigError, FleetError

if TYPE_CHECKING:
    from fleet.settings.environment import Settings


async def retry_failed(settings: Settings, output: Output, batch_id: str, wanted: Wanted | None = None) -> None:
    """Make a batch of the rows that have no answer, and if results are wanted wait for them; no other row runs again.

    Raises: FleetError if the batch is not there, has not ended, or has no such row; OSError; QueueUnavailable.
    """
    async with open_batches(settings) as (files, batches):
        try:
            again = there(batch_id, await wishes.retry_failed(batches, batch_id, time.time()))
        except ConfigError as error:
            raise FleetError(error.rule) from None
        if wanted is not None:
            await finish(files, batches, output, again.id, wanted)
            return
    output.object(as_json(again))
    output.say(f"{again.id}: runs the rows of {batch_id} that have no answer")
