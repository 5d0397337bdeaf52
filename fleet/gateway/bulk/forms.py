"""Reads an uploaded form as it comes: nothing is held but its small fields, however large its file is.

OpenAI's Node SDK sends the file before `purpose`, its Python SDK after it, so the fields are known only at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fleet.gateway.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})
MAX_FIELD_BYTES = 4096
MAX_FILENAME_CHARACTERS = 255

FILE = "file"
"""The name of the part that may be long."""


class UploadForm:
    """A multipart/form-data body with one file. `fields` are all other parts, complete once `pieces` has ended."""

    def __init__(self, content_type: str) -> None:
        """Raises: ApiError, 415 for another content type, 400 for one without a boundary."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise ApiError(415, "Send the file as multipart/form-data.", code="unsupported_media_type")
        boundary = options.get(b"boundary")
        if not boundary:
            raise _malformed("its content type names no boundary")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._pieces: list[bytes] = []
        self._has_ended = False
        self._header = self._value = self._disposition = b""
        self._name = ""
        self._field = bytearray()
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise _malformed("its boundary is too long") from error

    async def pieces(self, stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield the file's bytes as they come, in pieces that are not empty.

        Raises: ApiError, 400 if this is no form, ends too early, or holds more than a file and its fields.
        """
        async for chunk in stream:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise _malformed("it breaks the format") from error
            for piece in self._pieces:
                yield piece
            self._pieces.clear()
        if not self._has_ended:
            raise _malformed("it ends before its last boundary")

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._take_header,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition = b""

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._field.clear()
        if self._name == FILE:
            if self.filename is not None:
                raise ApiError(400, "Send one file at a time.", param=FILE, code="too_many_files")
            self.filename = _plain(options.get(b"filename", b"").decode(errors="replace"))
        elif self._name in self.fields:
            raise _malformed("a field comes twice")
        elif self._name not in FIELDS:
            raise ApiError(400, f"There is no field {self._name[:64]!r}.", param=self._name[:64], code="unknown_field")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._pieces.append(data[start:end])
            return
        self._field += data[start:end]
        if len(self._field) > MAX_FIELD_BYTES:
            raise ApiError(400, f"A field may have {MAX_FIELD_BYTES} bytes.", param=self._name, code="field_too_long")

    def _end_part(self) -> None:
        if self._name != FILE:
            self.fields[self._name] = self._field.decode(errors="replace")

    def _end(self) -> None:
        self._has_ended = True


def _plain(filename: str) -> str:
    """Return the name without folders and control characters, which is only ever shown."""
    name = "".join(character for character in filename.replace("\\", "/").rpartition("/")[2] if character.isprintable())
    return name[:MAX_FILENAME_CHARACTERS] or "upload.jsonl"


def _malformed(why: str) -> ApiError:
    return ApiError(400, f"The body is no form: {why}.", code="invalid_form")
