"""Forms that are read as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.gateway.bulk.forms import MAX_FIELD_BYTES, UploadForm
from fleet.gateway.errors import ApiError

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
LINES = b'{"custom_id": "1"}\r\n--b0undar\r\n{"custom_id": "2"}\n'
"""With what looks like a boundary and is none."""

FILE = ('name="file"; filename="rows.jsonl"', LINES)
PURPOSE = ('name="purpose"', b"batch")


def form_of(parts: Sequence[tuple[str, bytes]]) -> bytes:
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"
        for disposition, content in parts
    )
    return body + f"--{BOUNDARY}--\r\n".encode()


async def stream_of(body: bytes, piece_bytes: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(body), piece_bytes):
        yield body[start : start + piece_bytes]


async def read(body: bytes, piece_bytes: int = 7, content_type: str = CONTENT_TYPE) -> tuple[UploadForm, bytes]:
    form = UploadForm(content_type)
    return form, b"".join([piece async for piece in form.pieces(stream_of(body, piece_bytes))])


@pytest.mark.parametrize("parts", [(FILE, PURPOSE), (PURPOSE, FILE)], ids=["as Node sends it", "as Python sends it"])
async def test_the_file_may_come_before_or_after_the_purpose(parts: Sequence[tuple[str, bytes]]) -> None:
    form, content = await read(form_of(parts))

    assert content == LINES
    assert (form.filename, form.fields) == ("rows.jsonl", {"purpose": "batch"})


@given(content=st.binary(max_size=300), piece_bytes=st.integers(1, 400))
async def test_the_file_is_the_same_however_the_body_is_cut(content: bytes, piece_bytes: int) -> None:
    form, found = await read(form_of([('name="file"; filename="f"', content), PURPOSE]), piece_bytes)

    assert found == content and form.fields == {"purpose": "batch"}


async def test_the_bytes_of_the_file_are_passed_on_before_the_form_has_ended() -> None:
    body = form_of([('name="file"; filename="f"', b"x" * 10_000), PURPOSE])
    form = UploadForm(CONTENT_TYPE)
    pieces = form.pieces(stream_of(body, 100))

    assert set(await anext(pieces)) == set(b"x")
    assert form.fields == {}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\rows.jsonl", "rows.jsonl"),
        ("", "upload.jsonl"),
        ("n" * 400, "n" * 255),
        ("nüsse.jsonl", "nüsse.jsonl"),
    ],
)
async def test_a_filename_keeps_no_folder_and_a_bounded_length(said: str, kept: str) -> None:
    form, _ = await read(form_of([(f'name="file"; filename="{said}"', LINES)]))
    assert form.filename == kept


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_form"),
        (b"no form at all", "invalid_form"),
        (form_of([FILE])[:-30], "invalid_form"),
        (form_of([FILE, FILE]), "too_many_files"),
        (form_of([PURPOSE, PURPOSE]), "invalid_form"),
        (form_of([("filename=x", b"x")]), "unknown_field"),
        (form_of([('name="user"', b"x")]), "unknown_field"),
        (form_of([('name="purpose"', b"b" * (MAX_FIELD_BYTES + 1))]), "field_too_long"),
    ],
    ids=["empty", "other bytes", "cut short", "two files", "a field twice", "no name", "another field", "a long field"],
)
async def test_what_is_no_form_with_one_file_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        await read(body)
    assert (refused.value.status, refused.value.code) == (400, code)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 400),
        (f"multipart/form-data; boundary={'b' * 300}", 400),
    ],
)
async def test_another_content_type_is_refused_before_the_body_is_read(content_type: str, status: int) -> None:
    with pytest.raises(ApiError) as refused:
        UploadForm(content_type)
    assert refused.value.status == status


@given(st.binary(max_size=500))
async def test_no_bytes_break_the_reader(body: bytes) -> None:
    try:
        await read(f"--{BOUNDARY}\r\n".encode() + body)
    except ApiError as error:
        assert error.status == 400
