"""The check of an upload on its way."""

from __future__ import annotations

import pytest

from fleet.gateway.bulk.uploads import JsonlCheck
from fleet.gateway.errors import ApiError

ROW = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}'


def check(content: bytes, piece_bytes: int) -> None:
    checking = JsonlCheck()
    for start in range(0, len(content), piece_bytes):
        checking.feed(content[start : start + piece_bytes])
    checking.finish()


@pytest.mark.parametrize("piece_bytes", [1, 10, 10_000])
@pytest.mark.parametrize(
    "content",
    [
        ROW,
        ROW + b"\n",
        ROW + b"\r\n" + ROW + b"\r\n",
        b"\xef\xbb\xbf" + ROW + b"\n",
        b"\n \n" + ROW + b"\n\n",
        b'{"a": "\xe2\x80\xa8"}\n',
        b'{"a": "\\ud83d\\ude00"}\n',
    ],
    ids=["one line", "ended", "CRLF", "BOM", "blank lines", "U+2028 inside", "a surrogate pair"],
)
def test_jsonl_passes_however_it_is_cut_and_written(content: bytes, piece_bytes: int) -> None:
    check(content, piece_bytes)


@pytest.mark.parametrize("piece_bytes", [1, 10, 10_000])
@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a": NaN}', "must be JSON in UTF-8"),
        (b'{"a": 1', "must be JSON in UTF-8"),
        (b'{"a": "\xe4"}', "must be JSON in UTF-8"),
        (b"id,text", "must be JSON in UTF-8"),
        (b"[" * 100_000, "must be JSON in UTF-8"),
        (b"{" + b" " * 3_000_000 + b"}", "is too long for any job"),
    ],
    ids=["an array", "text", "NaN", "cut", "latin-1", "CSV", "deep", "long"],
)
def test_a_line_that_is_no_json_object_is_named_with_its_byte(bad: bytes, rule: str, piece_bytes: int) -> None:
    with pytest.raises(ApiError) as refused:
        check(ROW + b"\r\n\n" + bad + b"\n" + ROW, max(piece_bytes, len(bad) // 100))

    assert (refused.value.status, refused.value.param, refused.value.code) == (400, "file", "invalid_jsonl")
    assert refused.value.message == f"Line 3 (byte {len(ROW) + 3}) {rule}."


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_request_is_refused(content: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        check(content, 10)
    assert (refused.value.status, refused.value.code) == (400, "empty_file")


def test_a_line_without_an_end_is_refused_as_soon_as_it_is_too_long() -> None:
    checking = JsonlCheck()
    checking.feed(ROW + b"\n{" + b" " * 2_000_000)
    with pytest.raises(ApiError, match=rf"Line 2 \(byte {len(ROW) + 1}\) is too long for any job."):
        checking.feed(b" " * 100_000)
