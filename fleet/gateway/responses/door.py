"""`/v1/responses`: create, retrieve, cancel, delete; whole or as a stream that can be taken up again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from fleet.gateway.body import checked, json_object
from fleet.gateway.caller import Caller, WhoCalls, check
from fleet.gateway.errors import ApiError, api_error_of
from fleet.gateway.jobs.pending import CLIENT_GONE, Pending
from fleet.gateway.jobs.results import answer_in
from fleet.gateway.jobs.stream import PATIENCE_SECONDS, EventStream, Frames, error_frame, frame, kept_alive
from fleet.gateway.jobs.terms import Terms, job_of
from fleet.gateway.openapi import STREAM, json_body, leads_to
from fleet.gateway.responses.asked import ResponseBody, chat_request_of, errors_in_input, refuse_what_is_kept_elsewhere
from fleet.gateway.responses.record import ResponseRecord, decode_record, encode_record, job_id_in, record_of
from fleet.gateway.responses.shapes import Event, ResponseObject, events_of, response_of
from fleet.gateway.state import Doors, TheDoors
from fleet.model.result import Result
from policies.resilience.deadline import deadline_at

router = APIRouter(prefix="/v1/responses", tags=["responses"])

CANCEL_SECONDS = 10.0
"""How long a cancellation is waited for; the wish holds all the same."""

LATE_SECONDS = 60.0
"""Time after a job's deadline by when its result is there: later, one that is not there is there no more."""


_NEXT = leads_to("response_id", "retrieve_response", "cancel_response", "delete_response")
"""What can be done with a response that is kept."""


class DeletedResponse(TypedDict):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


@router.post("", responses={200: {"model": ResponseObject, **STREAM, **_NEXT}}, openapi_extra=json_body(ResponseBody))
async def create_response(request: Request, who: WhoCalls, doors: TheDoors, terms: Terms) -> Response:
    """Answer a request: at once, as a stream, or in the background, to be retrieved later."""
    sent = await json_object(request)
    refuse_what_is_kept_elsewhere(sent)
    body = checked(ResponseBody, sent)
    if body.background and body.store is False:
        raise ApiError(400, "store: a response in the background is kept", param="store", code="invalid_value")
    chat = chat_request_of(body)
    with errors_in_input():
        submission, job = job_of(chat, body.service_tier, body.metadata, terms, who, doors, request.headers)
    await doors.admit(job, request)
    record = record_of(body, job, deadline_at(job, doors.rules))
    with ExitStack() as stack:
        pending = stack.enter_context(closing(Pending(doors, who.tenant, job.id)))
        if body.background or body.store:
            await doors.responses(who.tenant).put(job.id, encode_record(record))
        if body.background:
            await doors.expect(who.tenant, job.id)
        await pending.submit(submission)
        if body.stream:
            if not body.background and (early := await pending.within(PATIENCE_SECONDS)) is not None:
                answer_in(early, doors)  # raises what the status of a stream could not say any more
            stack.pop_all()
            frames = _frames(record, kept_alive(pending, job.lane, partial(check, request)))
            return EventStream(frames, pending, cancels=not body.background)
        if body.background:
            return JSONResponse(response_of(record, None))
        result = await pending.unless_gone(request.receive)
    if result is None:
        return Response(status_code=CLIENT_GONE)
    answer_in(result, doors)
    return JSONResponse(response_of(record, result))


@router.get("/{response_id}", responses={200: {"model": ResponseObject, **STREAM, **_NEXT}})
async def retrieve_response(
    response_id: str,
    request: Request,
    who: WhoCalls,
    doors: TheDoors,
    stream: Literal["true", "false"] = "false",
    starting_after: Annotated[int, Query(ge=0, le=2**31 - 1)] | None = None,
) -> Response:
    """Return a response, or its stream from the first event behind the number `starting_after`."""
    record = await _record(response_id, who, doors)
    with ExitStack() as stack:
        pending = stack.enter_context(closing(Pending(doors, who.tenant, record.job_id)))
        result = await _result(record, who, doors)
        if stream == "false":
            return JSONResponse(response_of(record, result))
        stack.pop_all()
    waiting = _at_once(result) if result else kept_alive(pending, record.lane, partial(check, request))
    frames = _frames(record, waiting, -1 if starting_after is None else starting_after)
    return EventStream(frames, pending, cancels=False)


@router.post("/{response_id}/cancel", responses={200: {"model": ResponseObject, **_NEXT}})
async def cancel_response(response_id: str, who: WhoCalls, doors: TheDoors) -> Response:
    """Cancel a response in the background, and return how it ended. A second time changes nothing."""
    record = await _record(response_id, who, doors)
    if not record.background:
        raise ApiError(400, "Only a response in the background can be cancelled.", code="not_in_background")
    if await _result(record, who, doors) is None:
        with suppress(TimeoutError):  # the wish is stored, and holds
            await doors.client(who.tenant).cancel(record.job_id, timeout_seconds=CANCEL_SECONDS)
    return JSONResponse(response_of(record, await _result(record, who, doors)))


@router.delete(
    "/{response_id}",
    responses={200: {"model": DeletedResponse, **leads_to("response_id", "retrieve_response", "cancel_response")}},
)
async def delete_response(response_id: str, who: WhoCalls, doors: TheDoors) -> DeletedResponse:
    """Forget a response; one whose job has not ended is cancelled."""
    record = await _record(response_id, who, doors)
    if await _result(record, who, doors) is None:
        await doors.desk(who.tenant).cancel(record.job_id)
    await doors.responses(who.tenant).delete(record.job_id)
    return {"id": record.id, "object": "response", "deleted": True}


async def _record(response_id: str, who: Caller, doors: Doors) -> ResponseRecord:
    """Return the record. Raises: ApiError, 404, if the tenant has no such response."""
    job_id = job_id_in(response_id)
    body = None if job_id is None else await doors.responses(who.tenant).get(job_id)
    if body is None:
        raise _no_such_response(response_id)
    return decode_record(body)


async def _result(record: ResponseRecord, who: Caller, doors: Doors) -> Result | None:
    """Return the result, or None while there is none. Raises: ApiError, 404, if it was there and is no longer kept."""
    result = await doors.inbox(who.tenant).stored(record.job_id)
    if result is None and doors.now() > record.ends_by + LATE_SECONDS:
        raise _no_such_response(record.id)
    return result


def _no_such_response(response_id: str) -> ApiError:
    return ApiError(404, f"There is no response {response_id[:80]!r}.", param="response_id", code="not_found")


async def _at_once(result: Result) -> AsyncIterator[str | Result]:
    yield result


async def _frames(record: ResponseRecord, waiting: AsyncIterator[str | Result], after: int = -1) -> Frames:
    """Yield the events behind number `after` as they come about, with comments between them."""
    try:
        for event in _behind(after, events_of(record, None)):
            yield event
        async for each in waiting:
            if isinstance(each, str):
                yield each
                continue
            for event in _behind(max(after, len(events_of(record, None)) - 1), events_of(record, each)):
                yield event
    except Exception as error:  # the client has its status already
        yield error_frame(api_error_of(error))


def _behind(number: int, events: list[Event]) -> Iterator[str]:
    return (frame(each, each["type"]) for each in events if each["sequence_number"] > number)
