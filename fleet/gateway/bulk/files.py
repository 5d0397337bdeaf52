"""`/v1/files`: a tenant's files of requests, and those that batches write, which can be read while they grow."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from fleet.gateway.access.repeats import REPLAYED, check_key, reused_key, upload_name
from fleet.gateway.bulk.forms import FILE, UploadForm
from fleet.gateway.bulk.paging import Page, page_of
from fleet.gateway.bulk.ranges import slice_of
from fleet.gateway.bulk.uploads import ContentDigest, store
from fleet.gateway.caller import WhoCalls, check
from fleet.gateway.errors import NO_RETRY, ApiError
from fleet.gateway.openapi import Responses, error_responses, leads_to
from fleet.gateway.state import Doors, TheDoors
from fleet.model.batch import FILE_ID, Purpose, StoredFile
from fleet.model.errors import QueueUnavailable
from fleet.ports import FileStore

router = APIRouter(prefix="/v1/files", tags=["files"])

MAX_LISTED = 10_000

MOST_FILES = 10_000
"""Maximum files of a tenant, those that batches write included: a list shows all of them. A quota may be lower."""

KEPT_SECONDS = 30 * 24 * 3600
"""Maximum seconds that a file is kept: after so many its content is gone from the broker."""

MIN_KEPT_SECONDS = 3600

FileId = Annotated[str, Path(pattern=f"^{FILE_ID.pattern}$")]


class FileObject(TypedDict):
    """OpenAI's object; `status` is there because it is required, and says nothing."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed"]


class DeletedFile(TypedDict):
    id: str
    object: Literal["file"]
    deleted: bool


ANCHOR = "expires_after[anchor]"
SECONDS = "expires_after[seconds]"

_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "dependentRequired": {ANCHOR: [SECONDS], SECONDS: [ANCHOR]},
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "JSONL, one request a line."},
                        "purpose": {"type": "string", "const": "batch"},
                        ANCHOR: {"type": "string", "const": "created_at"},
                        SECONDS: {
                            "type": "integer",
                            "minimum": MIN_KEPT_SECONDS,
                            "maximum": KEPT_SECONDS,
                        },
                    },
                },
                "encoding": {"file": {"contentType": "application/jsonl"}},
            }
        },
    }
}

_MAKES_BATCH = {"operationId": "create_batch", "requestBody": {"input_file_id": "$response.body#/id"}}
_NEXT = leads_to("file_id", "retrieve_file", "retrieve_file_content", "delete_file")

_UPLOADED: Responses = {200: {"links": {"create_batch": _MAKES_BATCH, **_NEXT["links"]}}}
"""What can be done with a new file, for whoever reads the description of the API."""


_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}

_CONTENT: Responses = {
    200: {"description": "The whole file", **_BYTES},
    206: {"description": "The range that was asked for", **_BYTES},
    **error_responses(416),
}


@router.post("", openapi_extra=_UPLOAD, responses={**_UPLOADED, **error_responses(507)})
async def create_file(request: Request, response: Response, who: WhoCalls, doors: TheDoors) -> FileObject:
    """Upload a file of requests. It is checked and stored as it comes, and gone again if anything is wrong with it.

    What an SDK sends again, or what is sent with the same `Idempotency-Key`, is the same file.
    """
    form, files = UploadForm(request.headers.get("content-type", "")), doors.files(who.tenant)
    digest = ContentDigest()
    pieces = digest.of(form.pieces(request.stream()))
    check_key(request.headers)
    await _check_room(doors, who.tenant)
    first = await anext(pieces, b"")
    _check_purpose(form, is_whole=not first)
    if not first:
        raise ApiError(400, "The form has no file, or an empty one.", param=FILE, code="empty_file")
    stored = await files.create(form.filename or "", Purpose.BATCH, doors.now() + KEPT_SECONDS)
    try:
        await store(files, stored.id, _with(first, pieces), doors.max_file_bytes, partial(check, request))
        _check_purpose(form, is_whole=True)
        closed = await files.close(stored.id, _expires_at(form, stored.created_at))
    except BaseException:  # among them that the caller has hung up
        with suppress(QueueUnavailable):
            await files.delete(stored.id)
        raise
    if closed is None:
        raise _missing(stored.id)
    return file_object(await _standing(request, response, files, closed, digest.with_form(form), doors.now()))


async def _check_room(doors: Doors, tenant: str) -> None:
    """Raise an ApiError, 400, if the tenant has as many files as it may."""
    most = min(MOST_FILES, doors.rules.quotas.of(tenant).files or MOST_FILES)
    files = doors.files(tenant)
    if await files.count() >= most and (there := len(await files.list())) >= most:
        message = f"files: a tenant may have {most:,}, and has {there:,}. Delete some, or wait until they expire."
        raise ApiError(400, message, param=FILE, code="too_many_files", headers=NO_RETRY)


async def _standing(
    request: Request, response: Response, files: FileStore, uploaded: StoredFile, content: str, now: float
) -> StoredFile:
    """Return the file that stands for this upload; if it is an earlier one, the new one goes.

    Raises: ApiError, 422, if its key was sent with something else before.
    """
    name, since = upload_name(request.headers, content, now)
    standing, its_content = await files.claim(name, uploaded, content, since)
    if standing.id != uploaded.id:
        response.headers[REPLAYED] = "true"
        await files.delete(uploaded.id)
    if its_content != content:
        raise reused_key()
    return standing


@router.get("")
async def list_files(
    who: WhoCalls,
    doors: TheDoors,
    purpose: Purpose | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Page[FileObject]:
    """List the tenant's files by the time they were made; `after` is the last id of the page before."""
    found = [each for each in await doors.files(who.tenant).list() if purpose in (None, each.purpose)]
    ordered = found if order == "desc" else found[::-1]
    return page_of([file_object(each) for each in ordered], limit, after)


@router.get("/{file_id}")
async def retrieve_file(file_id: FileId, who: WhoCalls, doors: TheDoors) -> FileObject:
    return file_object(await _found(doors.files(who.tenant), file_id))


@router.delete("/{file_id}", responses={200: leads_to("file_id", "retrieve_file", "retrieve_file_content")})
async def delete_file(file_id: FileId, who: WhoCalls, doors: TheDoors) -> DeletedFile:
    """Delete a file. A batch that still reads it fails."""
    if not await doors.files(who.tenant).delete(file_id):
        raise _missing(file_id)
    return {"id": file_id, "object": "file", "deleted": True}


@router.get("/{file_id}/content", responses=_CONTENT, response_class=Response)
async def retrieve_file_content(file_id: FileId, request: Request, who: WhoCalls, doors: TheDoors) -> Response:
    """Send a file, or the `Range` of it that was asked for; one that still grows as far as it is."""
    files = doors.files(who.tenant)
    stored = await _found(files, file_id)
    part = slice_of(request.headers.get("range"), stored.bytes)
    total = str(stored.bytes) if stored.closed else "*"
    if part is None:
        raise ApiError(416, "The file has no such bytes.", headers={"content-range": f"bytes */{stored.bytes}"})
    headers = {
        "accept-ranges": "bytes",
        "content-length": str(part.end - part.start),
        "content-disposition": "attachment",
        "x-content-type-options": "nosniff",
    }
    if part.is_partial:
        headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{total}"
    content = _while_admitted(request, files.read(file_id, part.start, part.end))
    return StreamingResponse(content, 206 if part.is_partial else 200, headers, media_type="application/octet-stream")


async def _while_admitted(request: Request, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the content for as long as the caller's key is in force. Raises: ApiError, which breaks the answer off."""
    async for piece in content:
        await check(request)
        yield piece


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _check_purpose(form: UploadForm, is_whole: bool) -> None:
    """Raise an ApiError, 400, if the purpose is another than `batch`, or if the form is whole and has none."""
    if (is_whole and "purpose" not in form.fields) or form.fields.get("purpose", Purpose.BATCH) != Purpose.BATCH:
        raise ApiError(400, "purpose: must be batch.", param="purpose", code="invalid_value")


def _expires_at(form: UploadForm, created_at: float) -> float | None:
    """Return when the file expires; None if the form does not say. Raises: ApiError, 400, if it cannot be."""
    anchor, seconds = (form.fields.get(name) for name in (ANCHOR, SECONDS))
    if anchor is None and seconds is None:
        return None
    return created_at + expiry_seconds(anchor, seconds)


def expiry_seconds(anchor: str | None, seconds: str | None) -> int:
    """Return the seconds that a file is kept. Raises: ApiError, 400, naming the part that is wrong."""
    if anchor != "created_at":
        raise ApiError(400, "expires_after[anchor]: must be created_at.", param="expires_after", code="invalid_value")
    if seconds is None or not re.fullmatch(r"[0-9]{1,9}", seconds):
        raise ApiError(400, "expires_after[seconds]: must be a number.", param="expires_after", code="invalid_value")
    if not MIN_KEPT_SECONDS <= int(seconds) <= KEPT_SECONDS:
        rule = f"must be from {MIN_KEPT_SECONDS} to {KEPT_SECONDS}"
        raise ApiError(400, f"expires_after[seconds]: {rule}.", param="expires_after", code="invalid_value")
    return int(seconds)


async def _found(files: FileStore, file_id: str) -> StoredFile:
    stored = await files.info(file_id)
    if stored is None:
        raise _missing(file_id)
    return stored


def _missing(file_id: str) -> ApiError:
    return ApiError(404, f"There is no file {file_id}.", param="file_id", code="not_found")


def file_object(stored: StoredFile) -> FileObject:
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.bytes,
        "created_at": int(stored.created_at),
        "expires_at": None if stored.expires_at is None else int(stored.expires_at),
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed" if stored.closed else "uploaded",
    }
