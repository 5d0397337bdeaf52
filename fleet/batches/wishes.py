"""Does what users ask of batches: makes a new one, cancels one, and makes one of the rows that have no answer."""

from __future__ import annotations

import secrets
from dataclasses import replace

from fleet.model.batch import Batch, cancelling
from fleet.model.errors import ConfigError
from fleet.ports import BatchStore

DEFAULT_WINDOW_SECONDS = 24 * 3600.0


def new_batch_id() -> str:
    return f"batch_{secrets.token_hex(12)}"


async def cancel(store: BatchStore, batch_id: str, now: float) -> Batch | None:
    """Have the batch cancelled and return it; None if it is not there. One that has ended, or is about to, stays so.

    Raises: QueueUnavailable.
    """
    while (found := await store.get(batch_id)) is not None:
        batch, revision = found
        cancelled = cancelling(batch, now)
        if cancelled is None:
            return batch
        if await store.update(cancelled, revision) is not None:
            return cancelled
    return None


async def retry_failed(store: BatchStore, batch_id: str, now: float) -> Batch | None:
    """Make a batch of the rows of this one that have no answer, and return it; None if this one is not there.

    It costs what its own rows cost; rows that have an answer do not run again.

    Raises: ConfigError if the batch has not ended, or has no such row; QueueUnavailable.
    """
    found = await store.get(batch_id)
    if found is None:
        return None
    batch = found[0]
    if not batch.status.is_final:
        raise ConfigError("batch", f"{batch.id} has not ended: it is {batch.status.value}")
    if not batch.errors:
        raise ConfigError("batch", f"{batch.id} has no row to retry")
    again = Batch(
        new_batch_id(),
        batch.tenant,
        batch.endpoint,
        batch.input_file_id,
        batch.completion_window_seconds,
        now,
        retries=batch.id,
    )
    again = replace(again, **{name: getattr(batch, name) for name in _KEPT})
    await store.create(again)
    return again


_KEPT = ("metadata", "defaults", "keep_going", "max_cost_nano_usd", "output_expires_seconds")
