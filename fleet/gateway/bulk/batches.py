"""`/v1/batches`: files of requests that run as jobs in the lane bulk, in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from fleet.gateway.access.repeats import REPLAYED, batch_ids, check_key, id_after, is_retry, reused_key
from fleet.gateway.body import checked, json_object
from fleet.gateway.bulk.batch_object import BatchObject, batch_object
from fleet.gateway.bulk.files import KEPT_SECONDS, MIN_KEPT_SECONDS
from fleet.gateway.bulk.paging import Page, paged
from fleet.gateway.caller import WhoCalls
from fleet.gateway.errors import ApiError
from fleet.gateway.openapi import json_body, leads_to
from fleet.gateway.state import Doors, TheDoors
from fleet.model.batch import BATCH_ID, FILE_ID, Batch, BatchStatus, Purpose, cancelling
from fleet.ports import BatchStore
from policies.money import nano_of

router = APIRouter(prefix="/v1/batches", tags=["batches"])

MAX_LISTED = 100
DEFAULT_LISTED = 20

WINDOW = r"^([1-9][0-9]{0,3}m|([1-9]|[1-9][0-9]|1[0-5][0-9]|16[0-8])h|[1-7]d)$"
"""Pattern of a completion window: minutes, hours or days, up to a week."""

_IN_VAIN = (BatchStatus.CANCELLING, BatchStatus.CANCELLED, BatchStatus.FAILED, BatchStatus.EXPIRED)

_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 24 * 3600}

_NEXT = leads_to("batch_id", "retrieve_batch", "cancel_batch")
_OUTPUT = leads_to("file_id", "retrieve_file_content", value="$response.body#/output_file_id")

BatchId = Annotated[str, Path(pattern=f"^{BATCH_ID.pattern}$")]
MetadataName = Annotated[str, Field(min_length=1, max_length=64)]
MetadataText = Annotated[str, Field(max_length=512)]


class OutputExpiry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=MIN_KEPT_SECONDS, le=KEPT_SECONDS)]


class NewBatch(BaseModel):
    """The body that makes a batch. `keep_going` and `max_cost_usd` are the fleet's own.

    With `keep_going` the error file names the lines that are no jobs, and the rest run; without it one fails them all.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    input_file_id: Annotated[str, Field(min_length=1, max_length=64)]
    endpoint: Literal["/v1/chat/completions"]
    completion_window: Annotated[str, Field(pattern=WINDOW)]
    metadata: Annotated[dict[MetadataName, MetadataText], Field(max_length=16)] | None = None
    output_expires_after: OutputExpiry | None = None
    keep_going: bool = False
    max_cost_usd: Annotated[float, Field(gt=0, le=1e6)] | None = None


@router.post("", responses={200: _NEXT}, openapi_extra=json_body(NewBatch))
async def create_batch(request: Request, response: Response, who: WhoCalls, doors: TheDoors) -> BatchObject:
    """Make a batch of an uploaded file. The same request within ten minutes, or with its key, is the same batch."""
    body = checked(NewBatch, await json_object(request))
    store, now, has_key = doors.batches(who.tenant), doors.now(), check_key(request.headers) is not None
    ids, since = batch_ids(request.headers, who.tenant, body.model_dump_json().encode(), now)
    made, new_id = await _made_before(store, ids, since, has_key or is_retry(request.headers))
    if made is None:
        batch = _batch_of(body, new_id, who.tenant, now)
        await _check_input(doors, batch)
        if await store.create(batch):
            return batch_object(batch)
        made, _ = await _found(store, new_id)  # by the same request at the same moment
    if has_key and _wish(_batch_of(body, made.id, who.tenant, now)) != _wish(made):
        raise reused_key()
    response.headers[REPLAYED] = "true"
    return batch_object(made)


async def _made_before(
    store: BatchStore, ids: Sequence[str], since: float, is_repeated: bool
) -> tuple[Batch | None, str]:
    """Return the batch that this request has made already, or None, and the id for a new one.

    Somebody who does not say that the request is a repetition means a new batch where the one before came to nothing.
    """
    newest, new_id = await _newest(store, ids[0])
    made = [newest, *[(await _newest(store, earlier))[0] for earlier in ids[1:]]]
    for batch in made:
        if batch is not None and batch.created_at >= since and (is_repeated or batch.status not in _IN_VAIN):
            return batch, new_id
    return None, new_id


async def _newest(store: BatchStore, batch_id: str) -> tuple[Batch | None, str]:
    """Return the last of the batches whose ids follow from this one, or None, and the first id that is free."""
    newest = None
    while (found := await store.get(batch_id)) is not None:
        newest, batch_id = found[0], id_after(batch_id)
    return newest, batch_id


def _wish(batch: Batch) -> tuple[object, ...]:
    """Return what its maker said of the batch."""
    window, expiry = batch.completion_window_seconds, batch.output_expires_seconds
    said = (batch.input_file_id, batch.endpoint, window, expiry, batch.keep_going, batch.max_cost_nano_usd)
    return (*said, dict(batch.metadata))


def _batch_of(body: NewBatch, batch_id: str, tenant: str, now: float) -> Batch:
    return Batch(
        id=batch_id,
        tenant=tenant,
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window_seconds=float(window_seconds(body.completion_window)),
        created_at=now,
        metadata=body.metadata or {},
        keep_going=body.keep_going,
        max_cost_nano_usd=None if body.max_cost_usd is None else nano_of(body.max_cost_usd),
        output_expires_seconds=None if body.output_expires_after is None else float(body.output_expires_after.seconds),
    )


def window_seconds(text: str) -> int:
    """Return the seconds of a completion window that matches `WINDOW`."""
    return int(text[:-1]) * _UNIT_SECONDS[text[-1]]


async def _check_input(doors: Doors, batch: Batch) -> None:
    """Raise an ApiError if the batch's input is not there, or no file of requests: 404 or 400."""
    name = "input_file_id"
    is_id = FILE_ID.fullmatch(batch.input_file_id) is not None
    stored = await doors.files(batch.tenant).info(batch.input_file_id) if is_id else None
    if stored is None:
        raise ApiError(404, f"There is no file {batch.input_file_id!r}.", param=name, code="not_found")
    if stored.purpose is not Purpose.BATCH or not stored.closed:
        raise ApiError(400, f"{name}: must be an uploaded file of purpose batch.", param=name, code="invalid_value")


@router.get("")
async def list_batches(
    who: WhoCalls,
    doors: TheDoors,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = DEFAULT_LISTED,
    after: str | None = None,
) -> Page[BatchObject]:
    """List the tenant's batches, newest first; `after` is the last id of the page before."""
    store = doors.batches(who.tenant)
    if after is not None:
        await _found(store, after, "after")
    found = await store.list(limit + 1, after)
    return paged([batch_object(batch) for batch in found[:limit]], len(found) > limit)


@router.get("/{batch_id}", responses={200: {"links": {**_NEXT["links"], **_OUTPUT["links"]}}})
async def retrieve_batch(batch_id: BatchId, who: WhoCalls, doors: TheDoors) -> BatchObject:
    batch, _ = await _found(doors.batches(who.tenant), batch_id)
    return batch_object(batch)


@router.post("/{batch_id}/cancel", responses={200: _NEXT})
async def cancel_batch(batch_id: BatchId, who: WhoCalls, doors: TheDoors) -> BatchObject:
    """Cancel a batch; what its rows have answered by then stays. Cancelling it again changes nothing."""
    store = doors.batches(who.tenant)
    while True:
        batch, revision = await _found(store, batch_id)
        if batch.status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
            return batch_object(batch)
        changed = cancelling(batch, doors.now())
        if changed is None:
            raise ApiError(400, f"The batch is {batch.status} and cannot be cancelled.", code="batch_ended")
        if await store.update(changed, revision) is not None:
            return batch_object(changed)


async def _found(store: BatchStore, batch_id: str, param: str = "batch_id") -> tuple[Batch, int]:
    found = await store.get(batch_id) if BATCH_ID.fullmatch(batch_id) else None
    if found is None:
        raise ApiError(404, f"There is no batch {batch_id[:64]!r}.", param=param, code="not_found")
    return found
