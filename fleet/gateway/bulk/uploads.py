"""Takes an upload into the tenant's files as it comes, and checks on the way that it is a file of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import blake2b

from pydantic_core import from_json

from fleet.bulk.reading.splitting import BOM, Line, LineSplitter
from fleet.gateway.bulk.forms import FILE, UploadForm
from fleet.gateway.errors import NO_RETRY, ApiError
from fleet.model.batch import StoredFile
from fleet.model.errors import QueueRefused
from fleet.ports import FileStore

SEGMENT_BYTES = 4 * 1024 * 1024
"""Bytes held of an upload; so much is stored at once."""

CODE = "invalid_jsonl"


class JsonlCheck:
    """Checks that what comes in pieces is JSONL: UTF-8, every line that is not blank one JSON object of bounded length.

    Whether an object is a job is the batch's to say, which may go on without the lines that are none.
    """

    def __init__(self) -> None:
        self._splitter = LineSplitter()
        self._objects = 0

    def feed(self, piece: bytes) -> None:
        """Check the lines that end in the piece, and the length of the one that does not.

        Raises: ApiError, 400, naming the line and its byte.
        """
        for line in self._splitter.feed(piece):
            self._check(line)
        if self._splitter.is_too_long:
            self._check(self._splitter.begun())

    def finish(self) -> None:
        """Check the last line, and that there was one. Raises: ApiError as `feed` does."""
        for line in self._splitter.finish():
            self._check(line)
        if not self._objects:
            raise ApiError(400, "The file has no line with a request.", param=FILE, code="empty_file")

    def _check(self, line: Line) -> None:
        if not line.is_whole:
            raise _broken(line, "is too long for any job")
        if line.is_blank:
            return
        data = line.data.removeprefix(BOM) if line.number == 1 else line.data
        try:
            is_object = isinstance(from_json(data, allow_inf_nan=False, cache_strings=False), dict)
        except ValueError:
            raise _broken(line, "must be JSON in UTF-8") from None
        if not is_object:
            raise _broken(line, "must be a JSON object")
        self._objects += 1


def _broken(line: Line, rule: str) -> ApiError:
    return ApiError(400, f"Line {line.number} (byte {line.start}) {rule}.", param=FILE, code=CODE)


class ContentDigest:
    """The digest of an upload, taken as it comes."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)

    async def of(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces again."""
        async for piece in pieces:
            self._digest.update(piece)
            yield piece

    def with_form(self, form: UploadForm) -> str:
        """Return the digest of all pieces so far and of what else the form says."""
        whole = self._digest.copy()
        whole.update(repr((form.filename, sorted(form.fields.items()))).encode())
        return whole.hexdigest()


async def store(
    files: FileStore,
    file_id: str,
    pieces: AsyncIterator[bytes],
    max_bytes: int | None,
    check_caller: Callable[[], Awaitable[object]],
) -> StoredFile | None:
    """Append all pieces to the file; return it, None if it was deleted meanwhile. `check_caller` raises to end it.

    Raises: ApiError if it is no file of jobs, too large, or finds no room; QueueUnavailable.
    """
    check, held, total = JsonlCheck(), bytearray(), 0
    stored = await files.info(file_id)
    async for piece in pieces:
        total += len(piece)
        if max_bytes is not None and total > max_bytes:
            raise ApiError(413, f"A file may have {max_bytes:,} bytes.", param=FILE, code="file_too_large")
        check.feed(piece)
        held += piece
        if len(held) >= SEGMENT_BYTES:
            await check_caller()
            stored = await _append(files, file_id, held)
    check.finish()
    await check_caller()
    return await _append(files, file_id, held) if held else stored


async def _append(files: FileStore, file_id: str, held: bytearray) -> StoredFile | None:
    content = bytes(held)
    held.clear()
    try:
        return await files.append(file_id, content, content.count(b"\n"))
    except QueueRefused as error:
        message = "The fleet has no room for the file; delete others, or ask its operator for more."
        raise ApiError(507, message, code="insufficient_storage", headers=NO_RETRY) from error
