"""`/v1/chat/completions`: a chat request goes through the queue, and whoever sent it waits for the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing
from functools import partial
from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from fleet.gateway.body import checked, json_object
from fleet.gateway.caller import WhoCalls, check
from fleet.gateway.errors import ApiError, api_error_of
from fleet.gateway.jobs.chunks import chunks_of
from fleet.gateway.jobs.pending import CLIENT_GONE, Pending
from fleet.gateway.jobs.results import answer_in
from fleet.gateway.jobs.stream import PATIENCE_SECONDS, EventStream, Frames, error_frame, frame, kept_alive
from fleet.gateway.jobs.terms import Metadata, ServiceTier, Terms, job_of
from fleet.gateway.openapi import STREAM, json_body
from fleet.gateway.state import Doors, TheDoors
from fleet.model.completion import ChatCompletion, completion_of
from fleet.model.result import Result
from queues.wire.chat import ChatCompletionRequest, Strict

router = APIRouter(prefix="/v1/chat", tags=["chat"])

DONE = "data: [DONE]\n\n"

Shaped = Callable[[Result], ChatCompletion]
"""Makes a completion of a result. Raises: ApiError if it holds no answer."""


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Transport(Strict):
    """The fields of a chat request that are not the model's: how the answer comes back, and what goes beside it."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: ServiceTier | None = None
    metadata: Metadata | None = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage is True


class ChatBody(ChatCompletionRequest):
    """The body of a chat completion. A field that is null is absent."""

    stream: bool | None = None  # type: ignore[assignment]  # of a job it can only be false
    stream_options: StreamOptions | None = None
    metadata: Metadata | None = None
    n: Literal[1] | None = None


@router.post("/completions", responses={200: {"model": ChatCompletion, **STREAM}}, openapi_extra=json_body(ChatBody))
async def create_chat_completion(request: Request, who: WhoCalls, doors: TheDoors, terms: Terms) -> Response:
    """Answer a chat request, whole or as a stream, on the cheapest target that is good enough for it."""
    sent = await json_object(request)
    said = checked(Transport, {name: sent.pop(name) for name in Transport.model_fields if name in sent})
    if said.stream_options is not None and not said.stream:
        raise ApiError(400, "stream_options: needs stream", param="stream_options", code="invalid_value")
    submission, job = job_of(sent, said.service_tier, said.metadata, terms, who, doors, request.headers)
    await doors.admit(job, request)
    shaped = partial(_completion, doors=doors, tier=said.service_tier)
    with ExitStack() as stack:
        pending = stack.enter_context(closing(Pending(doors, who.tenant, job.id)))
        await pending.submit(submission)
        if not said.stream:
            result = await pending.unless_gone(request.receive)
            return Response(status_code=CLIENT_GONE) if result is None else JSONResponse(shaped(result))
        early = await pending.within(PATIENCE_SECONDS)
        if early is not None:
            shaped(early)  # raises what the status of a stream could not say any more
        stack.pop_all()
    frames = _frames(kept_alive(pending, job.lane, partial(check, request)), shaped, said.include_usage)
    return EventStream(frames, pending, cancels=True)


def _completion(result: Result, doors: Doors, tier: str | None) -> ChatCompletion:
    return completion_of(result, answer_in(result, doors), tier or "default")


async def _frames(waiting: AsyncIterator[str | Result], shaped: Shaped, include_usage: bool) -> Frames:
    """Yield comments, then the completion as one chunk, or what went wrong."""
    try:
        async for each in waiting:
            if isinstance(each, str):
                yield each
                continue
            for chunk in chunks_of(shaped(each), include_usage):
                yield frame(chunk)
        yield DONE
    except Exception as error:  # the client has its status already
        yield error_frame(api_error_of(error))
